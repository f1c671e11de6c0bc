"""Stream an audio file through a running service, as a microphone would.

Start the service first (`fast-vc serve`), then:

    uv run python examples/websocket/ws_client.py --voice alto

Writes the converted speech and a timeline to outputs/ws_client/ and prints a summary. For a
program of your own start from `fast_vc_service.client.VoiceClient`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fast_vc_service.audio.opus import FRAME_MS
from fast_vc_service.client import options
from fast_vc_service.client.client import DEFAULT_BITRATE, DEFAULT_URL
from fast_vc_service.client.present import run_and_present
from fast_vc_service.protocol.limits import DEFAULT_RATE_HZ

ROOT = Path(__file__).resolve().parents[2]
OUTPUT_DIR = "outputs/ws_client"


def main(
    *,
    source_wav_path: options.SourceWavPath = ROOT / options.DEFAULT_SOURCE,
    output_wav_dir: Annotated[
        Path,
        typer.Option(
            help="Where the converted speech and the timeline go.",
            metavar="FOLDER",
            show_default=OUTPUT_DIR,
        ),
    ] = ROOT / OUTPUT_DIR,
    encoding: options.EncodingIn = options.Encoding.PCM,
    samplerate: options.SampleRate = DEFAULT_RATE_HZ,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = options.DEFAULT_API_KEY,
    chunk_time: options.ChunkTime = options.DEFAULT_CHUNK_MS,
    real_time: options.RealTime = True,
    bitrate: options.Bitrate = DEFAULT_BITRATE,
    frame_duration: options.FrameDuration = FRAME_MS,
    save_output: options.SaveOutput = True,
    voice: options.VoiceName = None,
    sample_rate_out: options.SampleRateOut = options.FULL_BAND_RATE_HZ,
    encoding_out: options.EncodingOut = options.Encoding.PCM,
    ca_file: options.CaFile = None,
) -> None:
    """Stream an audio file through a running service and write what comes back.

    Prints latency, real-time factor and durations. Exit status 1: the service could not be
    reached, refused, or failed.
    """
    plan = options.make_plan(
        url=url,
        api_key=api_key,
        voice=voice,
        encoding=encoding,
        sample_rate=samplerate,
        sample_rate_out=sample_rate_out,
        encoding_out=encoding_out,
        chunk_ms=chunk_time,
        real_time=real_time,
        bitrate=bitrate,
        frame_ms=frame_duration,
        ca_file=ca_file,
    )
    raise typer.Exit(
        run_and_present(plan, source_wav_path, output_wav_dir if save_output else None)
    )


if __name__ == "__main__":
    options.run(main)
