"""The commands of the quick start, run as a newcomer runs them, and the audio they give."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from service import ROOT, RunningService, environment

from fast_vc_service.audio.files import read_audio, write_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import FloatArray
from fast_vc_service.models.world.analysis import analyse

SOURCE = ROOT / "wavs" / "sources" / "low-pitched-male-24k.wav"
EXAMPLES = ROOT / "examples"


def run(script: str, home: Path, *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def envelope(audio: FloatArray, rate: int) -> np.ndarray:
    """RMS in frames of 1 ms."""
    frame = rate // 1000
    frames = audio[: len(audio) // frame * frame].reshape(-1, frame).astype(np.float64)
    return np.sqrt((frames**2).mean(axis=1))


def median_f0(audio: FloatArray, rate: int) -> float:
    f0 = analyse(resample(audio, rate, 16_000).astype(np.float64)).f0_hz
    return float(np.median(f0[f0 > 0]))


def check_converted(path: Path, rate: int, *, lag_ms: float = 0.0) -> None:
    """The same words at the same time, at another pitch, whole and clean."""
    source, source_rate = read_audio(SOURCE)
    out, out_rate = read_audio(path)
    assert out_rate == rate
    assert abs(len(out) / rate - len(source) / source_rate) <= 0.02 + 1 / rate
    assert np.isfinite(out).all()
    assert np.mean(np.abs(out) >= 0.9999) < 1e-3
    a, b = envelope(source, source_rate), envelope(out, rate)
    length = min(len(a), len(b))
    smooth = np.ones(20) / 20
    a, b = (np.convolve(e[:length] - e[:length].mean(), smooth, "same") for e in (a, b))
    lags = list(range(-60, 61))
    match = [float(np.corrcoef(a[100:-100], np.roll(b, -lag)[100:-100])[0, 1]) for lag in lags]
    assert max(match) > 0.8
    assert abs(lags[int(np.argmax(match))] - lag_ms) <= 15
    ratio = median_f0(out, rate) / median_f0(source, source_rate)
    assert ratio > 1.2, "the reference speaks higher than the source"


@pytest.mark.parametrize(
    ("script", "flags", "rate"),
    [
        ("ws_client.py", (), 24_000),
        ("ws_client.py", ("--encoding", "OPUS", "--sr", "48000"), 24_000),
        ("ws_client.py", ("--encoding-out", "OPUS", "--sample-rate-out", "24000"), 24_000),
        ("simple_protocol_ws_client.py", ("--stream-id", "quick"), 24_000),
        ("simple_protocol_ws_client.py", ("--encoding", "OPUS"), 24_000),
        ("ws_client.py", ("--encoding", "OPUS", "--frame-duration", "10"), 24_000),
        (
            "ws_client.py",
            ("--encoding", "OPUS", "--frame-duration", "60", "--chunk-time", "60"),
            24_000,
        ),
        (
            "simple_protocol_ws_client.py",
            ("--encoding", "OPUS", "--frame-duration", "2.5"),
            24_000,
        ),
    ],
)
def test_a_client_gets_the_same_words_in_another_voice(
    default_service: RunningService, tmp_path: Path, script: str, flags: tuple[str, ...], rate: int
) -> None:
    said = run(
        f"websocket/{script}",
        tmp_path,
        "--url",
        default_service.url,
        "--output-wav-dir",
        str(tmp_path),
        "--no-real-time",
        "--voice",
        "soprano",
        *flags,
    )
    assert "real-time factor" in said
    (wav,) = tmp_path.glob("*_output.wav")
    (timeline,) = tmp_path.glob("*_timeline.json")
    assert json.loads(timeline.read_text())
    # Raw packets do not tell the 6.5 ms delay of the client's encoder.
    check_converted(wav, rate, lag_ms=6.5 if "--encoding" in flags else 0.0)


def test_a_real_time_client_measures_its_latency(
    default_service: RunningService, tmp_path: Path
) -> None:
    short = tmp_path / "short.wav"
    audio, rate = read_audio(SOURCE)
    write_audio(short, audio[: 3 * rate], rate)
    said = run(
        "websocket/ws_client.py",
        tmp_path,
        "--url",
        default_service.url,
        "--source-wav-path",
        str(short),
        "--output-wav-dir",
        str(tmp_path / "out"),
    )
    assert "latency of a chunk" in said
    assert "mouth to ear" in said


def test_many_clients_at_once(default_service: RunningService, tmp_path: Path) -> None:
    run(
        "websocket/concurrent_ws_client.py",
        tmp_path,
        "--url",
        default_service.url,
        "--num-clients",
        "2",
        "--max-workers",
        "1",
        "--no-real-time",
        "--output-wav-dir",
        str(tmp_path / "runs"),
    )
    names = {path.name for path in (tmp_path / "runs").iterdir() if path.is_symlink()}
    assert names >= {
        "client1_result.json",
        "client1_stats.json",
        "client1_output.wav",
        "client2_stats.json",
        "summary.json",
    }
    stats = json.loads((tmp_path / "runs" / "client1_stats.json").read_text())
    assert set(stats) >= {
        "first_token_latency_ms",
        "end_to_end_latency_ms",
        "chunk_latency_stats",
        "jitter_ms",
        "real_time_factor",
        "is_real_time",
        "send_timing_analysis",
        "timeline_summary",
    }
    assert stats["jitter_ms"] is stats["is_real_time"] is None, "not sent in real time"


def test_a_refused_client_fails_and_says_why(
    default_service: RunningService, tmp_path: Path
) -> None:
    said = run(
        "websocket/ws_client.py",
        tmp_path,
        "--url",
        default_service.url,
        "--voice",
        "nobody",
        "--output-wav-dir",
        str(tmp_path),
        status=1,
    )
    assert "UNKNOWN_VOICE" in said
    assert "soprano" in said
    assert not list(tmp_path.glob("*.wav"))


def test_no_service_no_success(tmp_path: Path) -> None:
    said = run("websocket/ws_client.py", tmp_path, "--url", "ws://127.0.0.1:9/ws", status=1)
    assert "error" in said
    assert "Traceback" not in said


def test_files_without_a_server(tmp_path: Path) -> None:
    run(
        "file_conversion/file_vc.py",
        tmp_path,
        "--source-wav-path",
        str(SOURCE),
        "--output-dir",
        str(tmp_path),
        "--voice",
        "soprano",
    )
    (wav,) = tmp_path.glob("*.wav")
    source, rate = read_audio(SOURCE)
    assert len(read_audio(wav)[0]) == len(source)
    check_converted(wav, rate)
