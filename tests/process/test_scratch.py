"""Folders of uploads: each belongs to a process, and goes with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fast_vc_service.process.lock import is_locked, take_lock
from fast_vc_service.process.scratch import LOCK, ScratchFolder

HOLDER = """
import sys
from pathlib import Path
from fast_vc_service.process.scratch import ScratchFolder
with ScratchFolder(Path(sys.argv[1])).place() as place:
    (place / "upload").write_bytes(bytes(10))
    print(place.parent, flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_held_by_one_and_shown_to_all(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    handle = take_lock(path)
    assert is_locked(path)
    with pytest.raises(BlockingIOError):
        take_lock(path)
    os.close(handle)
    assert not is_locked(path)
    os.close(take_lock(path))


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="lock"):
        take_lock(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")
    assert not (tmp_path / "precious").exists()


def test_what_lies_in_a_place_goes_with_it(tmp_path: Path) -> None:
    scratch = ScratchFolder(tmp_path / "uploads")
    with scratch.place() as first, scratch.place() as second:
        assert first != second
        assert first.parent == second.parent
        (first / "file").write_text("x")
        assert scratch.sweep() == 0
        assert (first / "file").exists(), "its process lives"
    assert not first.exists()
    scratch.close()
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == [LOCK]


def test_a_folder_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    scratch = ScratchFolder(tmp_path / "uploads")
    with scratch.place():
        pass
    shutil.rmtree(tmp_path / "uploads")
    with scratch.place() as place:
        assert place.is_dir()
    scratch.close()


def test_folders_of_killed_processes_are_swept_and_no_others(tmp_path: Path) -> None:
    root = tmp_path / "uploads"
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    folders = []
    for holder in holders:
        assert holder.stdout is not None
        folders.append(Path(holder.stdout.readline().strip()))
    holders[0].kill()
    holders[0].wait()
    (root / "link").symlink_to(tmp_path)
    try:
        assert ScratchFolder(root).sweep() == 1
        assert [folder.exists() for folder in folders] == [False, True]
        assert (root / "link").is_symlink(), "what is linked to is not ours"
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()


def test_there_is_nothing_to_sweep_where_there_is_nothing(tmp_path: Path) -> None:
    assert ScratchFolder(tmp_path / "none").sweep() == 0
    assert not (tmp_path / "none").exists()
