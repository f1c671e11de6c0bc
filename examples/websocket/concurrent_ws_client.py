"""Stream an audio file through a running service many times at once, and measure latency.

    uv run python examples/websocket/concurrent_ws_client.py --num-clients 20

Writes each client's result, statistics and audio, a summary and a plot to a folder of the run
under outputs/concurrent_ws_client/; the latest run's files are also found there under the same
names.
"""

from __future__ import annotations

from pathlib import Path

import typer

from fast_vc_service.audio.opus import FRAME_MS
from fast_vc_service.client import options
from fast_vc_service.client.client import DEFAULT_BITRATE, DEFAULT_URL
from fast_vc_service.loadtest import options as load
from fast_vc_service.loadtest.command_line import run_and_present_load
from fast_vc_service.protocol.limits import DEFAULT_RATE_HZ

ROOT = Path(__file__).resolve().parents[2]


def main(
    *,
    num_clients: load.NumClients = load.DEFAULT_CLIENTS,
    delay_between_starts: load.DelayBetweenStarts = 0.0,
    max_workers: load.MaxWorkers = None,
    timeout: load.Timeout = load.DEFAULT_TIMEOUT_S,
    wait: load.Wait = False,
    source_wav_path: options.SourceWavPath = ROOT / options.DEFAULT_SOURCE,
    output_wav_dir: load.OutputWavDir = ROOT / load.OUTPUT_DIR,
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

    Prints latency, jitter and real-time factor of each client and of all together, and how many
    the service had no room for. Exit status 1: a client failed or was refused.
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
            count=num_clients,
            workers=max_workers or min(load.MOST_WORKERS, num_clients),
            stagger_s=delay_between_starts,
            save_output=save_output,
            wait_s=timeout if wait else 0.0,
        )
    )


if __name__ == "__main__":
    options.run(main)
