"""Stream an audio file through a running service many times at once, and measure latency.

    uv run python examples/websocket/concurrent_ws_client.py --num-clients 20

Writes each client's result, statistics and audio, a summary and a plot to a folder of the run
under outputs/concurrent_ws_client/; the latest run's files are also found there under the same
names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fast_vc_service.audio.opus import FRAME_MS
from fast_vc_service.client import options
from fast_vc_service.client.client import DEFAULT_BITRATE, DEFAULT_RATE_HZ, DEFAULT_URL
from fast_vc_service.client.present_load import run_and_present_load

ROOT = Path(__file__).resolve().parents[2]
OUTPUT_DIR = "outputs/concurrent_ws_client"


def main(
    *,
    num_clients: Annotated[
        int, typer.Option(help="Clients; all of them run at the same time.", metavar="N", min=1)
    ] = 5,
    delay_between_starts: Annotated[
        float, typer.Option(help="Seconds between the starts of two clients.", metavar="S", min=0)
    ] = 0.0,
    max_workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that share the clients. No limit on how many clients run at once: "
            "all do. Default: as many as clients, at most 8.",
            metavar="N",
            min=1,
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(help="Seconds one client may take; then it has failed.", metavar="S", min=0),
    ] = 420.0,
    source_wav_path: options.SourceWavPath = ROOT / options.DEFAULT_SOURCE,
    output_wav_dir: Annotated[
        Path,
        typer.Option(
            help="Where the folder of the run goes.", metavar="FOLDER", show_default=OUTPUT_DIR
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
    sample_rate_out: options.SampleRateOut = DEFAULT_RATE_HZ,
    encoding_out: options.EncodingOut = options.Encoding.PCM,
    ca_file: options.CaFile = None,
) -> None:
    """Stream an audio file through a running service by many clients at once.

    Prints latency, jitter and real-time factor of each client and of all together. Exit status 1:
    a client failed.
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
        timeout_s=timeout,
        ca_file=ca_file,
    )
    raise typer.Exit(
        run_and_present_load(
            plan,
            source_wav_path,
            output_wav_dir,
            clients=num_clients,
            workers=max_workers or min(8, num_clients),
            stagger_s=delay_between_starts,
            save_output=save_output,
        )
    )


if __name__ == "__main__":
    options.run(main)
