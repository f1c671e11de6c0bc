import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

import waiting
from fast_vc_service.contract import FloatArray
from fast_vc_service.sessions import recording as recording_module
from fast_vc_service.sessions.recorder import Recorder, RecordingWriter, prune
from fast_vc_service.sessions.recording import Recording, find_recordings, make_slug
from waiting import until

STARTED = datetime(2026, 3, 9, 23, 30, tzinfo=UTC)


def tone(samples: int, rate: int = 16_000) -> FloatArray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(samples) / rate)).astype(np.float32)


@pytest.fixture
def warnings_logged() -> list[str]:
    lines: list[str] = []
    handler = logger.add(lines.append, level="WARNING", format="{message}")
    yield lines
    logger.remove(handler)


def only(outputs: Path) -> Recording:
    (found,) = find_recordings(outputs)
    return found


def test_a_session_becomes_two_wavs_and_a_timeline(tmp_path: Path) -> None:
    writer = RecordingWriter(period_s=0.01)
    recorder = Recorder(tmp_path, "call 7", STARTED, 16_000, 24_000, writer=writer)
    audio = tone(3200)
    for index in range(10):
        recorder.input(audio[index * 320 : (index + 1) * 320], (index + 1) * 20)
        recorder.output(np.zeros(480, np.float32), (index + 1) * 20)
    recorder.close()
    assert writer.close()

    found = only(tmp_path)
    assert found.slug == recorder.slug
    assert set(found.files) == {"input.wav", "output.wav", "timeline.json"}
    assert found.files["input.wav"].parent == tmp_path / "2026" / "03" / "09"
    recorded, rate = soundfile.read(found.files["input.wav"], dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(recorded, audio, atol=1 / 32_000)
    assert soundfile.info(found.files["output.wav"]).frames == 4800
    assert soundfile.info(found.files["output.wav"]).samplerate == 24_000
    document = json.loads(found.files["timeline.json"].read_text())
    assert document["session_id"] == "call 7"
    assert document["cut"] is None
    sends = [entry for entry in document["entries"] if entry["event_type"] == "send"]
    receives = [entry for entry in document["entries"] if entry["event_type"] == "recv"]
    assert [entry["cumulative_ms"] for entry in sends] == [20.0 * n for n in range(1, 11)]
    assert len(receives) == 10
    assert all(abs(entry["timestamp"] - time.time()) < 60 for entry in document["entries"])


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    writer = RecordingWriter(period_s=0.01)
    mask = os.umask(0)
    try:
        Recorder(outputs, "s", STARTED, 16_000, 16_000, writer=writer).input(tone(320), 20)
        assert writer.close()
    finally:
        os.umask(mask)
    for path in [outputs, *outputs.rglob("*")]:
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path


@given(session_id=st.text(min_size=1, max_size=128))
def test_a_session_id_never_becomes_a_path(session_id: str) -> None:
    slug = make_slug(session_id, STARTED)
    assert slug.isascii()
    assert not set(slug) & set("/\\.\0 \n")
    assert len(slug) <= 64
    match = recording_module._FILE_NAME.fullmatch(f"{slug}_input.wav")
    assert match is not None
    assert match["slug"] == slug


def test_ids_that_sanitise_alike_keep_different_names() -> None:
    assert make_slug("../a", STARTED) != make_slug("...a", STARTED)
    assert make_slug("a" * 40, STARTED) != make_slug("a" * 41, STARTED)


def test_the_day_is_counted_in_utc(tmp_path: Path) -> None:
    started = STARTED.astimezone(timezone(timedelta(hours=9)))
    writer = RecordingWriter(period_s=0.01)
    Recorder(tmp_path, "s", started, 16_000, 16_000, writer=writer)
    assert writer.close()
    assert only(tmp_path).day == STARTED.date()


def test_audio_is_on_disk_and_playable_while_the_session_runs(tmp_path: Path) -> None:
    writer = RecordingWriter(period_s=0.01)
    recorder = Recorder(tmp_path, "s", STARTED, 16_000, 16_000, writer=writer)
    recorder.input(tone(1600), 100)

    def written() -> bool:
        found = list(find_recordings(tmp_path))
        if not found or not {"input.wav", "timeline.jsonl"} <= set(found[0].files):
            return False
        return len(found[0].files["timeline.jsonl"].read_text().splitlines()) == 2

    until(written, "the audio on disk")
    assert soundfile.info(only(tmp_path).files["input.wav"]).frames == 1600
    writer.close()


def test_a_killed_process_leaves_playable_files_and_a_readable_timeline(tmp_path: Path) -> None:
    script = """
import sys
sys.path.append(sys.argv[2])
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
from fast_vc_service.sessions.recorder import Recorder, RecordingWriter
from waiting import spend
writer = RecordingWriter(period_s=0.02)
recorder = Recorder(Path(sys.argv[1]), "doomed", datetime.now(UTC), 16000, 16000, writer=writer)
for index in range(10_000):
    recorder.input(np.full(320, 0.25, np.float32), 20.0 * (index + 1))
    recorder.output(np.full(320, 0.5, np.float32), 20.0 * (index + 1))
    spend(0.001)
    if index == 300:
        print("going", flush=True)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path, Path(waiting.__file__).parent],
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"going\n"
        child.send_signal(signal.SIGKILL)
    found = only(tmp_path)
    assert set(found.files) == {"input.wav", "output.wav", "timeline.jsonl"}
    for kind, level in (("input.wav", 0.25), ("output.wav", 0.5)):
        audio, rate = soundfile.read(found.files[kind], dtype="float32")
        assert rate == 16_000
        assert len(audio) >= 200 * 320
        np.testing.assert_allclose(audio, level, atol=1e-3)
    lines = found.files["timeline.jsonl"].read_text().splitlines()
    assert json.loads(lines[0])["session_id"] == "doomed"
    assert len(lines) >= 400


def test_a_process_that_ends_in_order_finishes_its_recordings(tmp_path: Path) -> None:
    script = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
from fast_vc_service.sessions.recorder import Recorder
recorder = Recorder(Path(sys.argv[1]), "s", datetime.now(UTC), 16000, 16000)
recorder.input(np.full(320, 0.25, np.float32), 20.0)
"""
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True, timeout=60)
    found = only(tmp_path)
    assert set(found.files) == {"input.wav", "output.wav", "timeline.json"}
    assert soundfile.info(found.files["input.wav"]).frames == 320


class StuckDisk:
    """Stands in for the recording's files: every write waits until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        original = recording_module.RecordingFiles.write

        def write(*args: object) -> None:
            assert self.go_on.wait(10)
            original(*args)

        monkeypatch.setattr(recording_module.RecordingFiles, "write", write)


def test_a_slow_disk_cuts_the_recording_and_never_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    disk = StuckDisk(monkeypatch)
    writer = RecordingWriter(period_s=0.01, max_pending_bytes=100_000)
    recorder = Recorder(tmp_path, "s", STARTED, 16_000, 16_000, writer=writer)
    started = time.monotonic()
    for index in range(1000):
        recorder.input(tone(320), 20.0 * (index + 1))
    assert time.monotonic() - started < 5
    disk.go_on.set()
    assert writer.close()
    assert [recorder.slug in line and "cannot keep up" in line for line in warnings_logged] == [
        True
    ]
    found = only(tmp_path)
    document = json.loads(found.files["timeline.json"].read_text())
    assert "cannot keep up" in document["cut"]
    assert 0 < soundfile.info(found.files["input.wav"]).frames < 1000 * 320
    assert len(document["entries"]) * 320 == soundfile.info(found.files["input.wav"]).frames


def test_all_recordings_together_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings_logged: list[str]
) -> None:
    disk = StuckDisk(monkeypatch)
    writer = RecordingWriter(period_s=0.01, max_total_pending_bytes=100_000)
    recorders = [
        Recorder(tmp_path, f"s{n}", STARTED, 16_000, 16_000, writer=writer) for n in range(4)
    ]
    for _ in range(200):
        for recorder in recorders:
            recorder.input(tone(320), 20)
    disk.go_on.set()
    assert writer.close()
    assert len(warnings_logged) == 4
    # What was reserved came back: the next recording is whole.
    recorder = Recorder(tmp_path, "later", STARTED, 16_000, 16_000, writer=writer)
    recorder.input(tone(16_000), 1000)
    assert writer.close()
    (later,) = [found for found in find_recordings(tmp_path) if found.slug == recorder.slug]
    assert soundfile.info(later.files["input.wav"]).frames == 16_000


def test_a_failing_disk_cuts_one_recording_and_spares_the_others(
    tmp_path: Path, warnings_logged: list[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    writer = RecordingWriter(period_s=0.01)
    failing = Recorder(tmp_path / "file", "a", STARTED, 16_000, 16_000, writer=writer)
    sound = Recorder(tmp_path, "b", STARTED, 16_000, 16_000, writer=writer)
    failing.input(tone(320), 20)
    sound.input(tone(320), 20)
    assert writer.close()
    assert len(warnings_logged) == 1
    assert failing.slug in warnings_logged[0]
    assert only(tmp_path).slug == sound.slug


def test_a_recording_is_never_overwritten(tmp_path: Path, warnings_logged: list[str]) -> None:
    writer = RecordingWriter(period_s=0.01)
    first = Recorder(tmp_path, "s", STARTED, 16_000, 16_000, writer=writer)
    first.input(tone(640), 40)
    assert writer.close()
    again = Recorder(tmp_path, "s", STARTED, 16_000, 16_000, writer=writer)
    again.input(tone(320), 20)
    assert writer.close()
    assert soundfile.info(only(tmp_path).files["input.wav"]).frames == 640
    assert len(warnings_logged) == 1


def test_what_comes_after_close_is_ignored(tmp_path: Path) -> None:
    writer = RecordingWriter(period_s=0.01)
    recorder = Recorder(tmp_path, "s", STARTED, 16_000, 16_000, writer=writer)
    recorder.input(tone(320), 20)
    recorder.close()
    recorder.input(tone(320), 40)
    recorder.close()
    assert writer.close()
    assert soundfile.info(only(tmp_path).files["input.wav"]).frames == 320


def test_the_writers_thread_ends_with_the_last_recorder(tmp_path: Path) -> None:
    writer = RecordingWriter(period_s=0.01)
    Recorder(tmp_path, "s", STARTED, 16_000, 16_000, writer=writer).close()
    assert writer.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "recorder"]


def recorded(outputs: Path, session_id: str, started: datetime, age_days: float) -> Recording:
    writer = RecordingWriter(period_s=0.01)
    recorder = Recorder(outputs, session_id, started, 16_000, 16_000, writer=writer)
    recorder.input(tone(320), 20)
    assert writer.close()
    (found,) = [each for each in find_recordings(outputs) if each.slug == recorder.slug]
    written_s = time.time() - age_days * 86_400
    for path in found.files.values():
        os.utime(path, (written_s, written_s))
    return found


def test_retention_deletes_old_recordings_and_nothing_else(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    old = recorded(outputs, "old", STARTED, age_days=3)
    young = recorded(outputs, "young", STARTED + timedelta(days=1), age_days=1)
    foreign = [
        outputs / "ws_client" / "call_input.wav",
        outputs / "2026" / "03" / "10" / "notes.txt",
        tmp_path / "elsewhere" / old.files["input.wav"].name,
    ]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
        os.utime(path, (0, 0))
    (outputs / "2020").mkdir()
    (outputs / "2020" / "01").mkdir()
    (outputs / "2020" / "01" / "01").symlink_to(tmp_path / "elsewhere")

    assert prune(outputs, days=2) == 1
    assert [found.slug for found in find_recordings(outputs)] == [young.slug]
    assert not (outputs / "2026" / "03" / "09").exists()
    assert all(path.exists() for path in foreign)


def test_a_recording_still_written_to_is_kept_whatever_its_day(tmp_path: Path) -> None:
    recorded(tmp_path, "long", STARTED - timedelta(days=400), age_days=0)
    assert prune(tmp_path, days=1) == 0
    assert len(list(find_recordings(tmp_path))) == 1


def test_retention_of_no_days_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="days >= 1"):
        prune(tmp_path, 0)


def test_retention_without_outputs_has_nothing_to_do(tmp_path: Path) -> None:
    assert prune(tmp_path / "none", 1) == 0
