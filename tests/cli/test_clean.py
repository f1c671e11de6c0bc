"""What ``clean`` spares, whoever asks; and what other users are told."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from test_lifecycle import Start, info_of, start

from fast_vc_service.commands import clean, status
from fast_vc_service.errors import ServiceError
from fast_vc_service.process.scratch import UPLOADS, ScratchFolder
from fast_vc_service.process.service_info import find_services, info_path

__all__ = ["start"]

NOBODY = 65_534


@contextmanager
def another_user(*denied: Path) -> Iterator[None]:
    """Be somebody else, or, where that is not allowed, be denied what another one would be."""
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
        return
    modes = {path: path.stat().st_mode for path in denied}
    for path in denied:
        path.chmod(0)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.fixture
def temp() -> Iterator[Path]:
    """A folder that everybody may read."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


def test_another_user_is_told_that_a_service_may_run(temp: Path, start: Start) -> None:
    running = start(folder=temp)
    with another_user(info_path(temp, 8042)):
        found = find_services(temp)
        with pytest.raises(ServiceError, match="another one may run here; ask as that user"):
            status.look(temp, None)
    assert (found.running, found.stale) == ([], [])
    assert found.hidden == [info_path(temp, 8042)]
    assert find_services(temp).running == [running]


def test_a_folder_that_another_user_may_not_read_hides_its_services(
    temp: Path, start: Start
) -> None:
    start(folder=temp)
    temp.chmod(0o700)
    with another_user(temp):
        found = find_services(temp)
    assert found.hidden == [temp]


def test_uploads_of_a_living_process_stay_and_others_go(tmp_path: Path) -> None:
    scratch = ScratchFolder(tmp_path / UPLOADS)
    dead = tmp_path / UPLOADS / "dead"
    with scratch.place() as place:
        (place / "upload").touch()
        dead.mkdir()
        (dead / "upload").touch()
        (tmp_path / "left-over").touch()
        found = clean.temp_files(tmp_path, [])
        assert set(found) == {dead / "upload", tmp_path / "left-over"}
    scratch.close()


def test_a_recording_that_runs_stays_whatever_the_clock_says(tmp_path: Path) -> None:
    day = tmp_path / "2026" / "11" / "30"
    day.mkdir(parents=True)
    names = [
        *("live_input.wav", "live_output.wav", "live_timeline.jsonl"),
        *("done_input.wav", "done_output.wav", "done_timeline.json"),
    ]
    for name in names:
        (day / name).touch()
        os.utime(day / name, (0, 0))
    (tmp_path / "as-linked").symlink_to(tmp_path)
    service = replace(
        info_of(1, 0.0, start_time=time.time()), outputs_dir=str(tmp_path / "as-linked")
    )
    gone = {path.name for path in clean.output_files(tmp_path, [service])}
    assert gone == {"done_input.wav", "done_output.wav", "done_timeline.json", "as-linked"}
    assert len(clean.output_files(tmp_path, [])) == len(names) + 1


def test_folders_are_cleaned_without_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", none)
    clean.check_folder(tmp_path / "outputs", tmp_path, "outputs_dir")
