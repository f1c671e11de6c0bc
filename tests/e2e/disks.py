"""A home with one folder that can fail: by a plug in the program, or on a small disk of its own."""

from __future__ import annotations

import contextlib
import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from service import ROOT, RunningService, environment, launch

FOLDERS = ("logs", "temp", "data", "outputs", "checkpoints")
NEEDED = ("logs", "temp", "data", "outputs")
ERRORS = ("ENOSPC", "EROFS")
DISK_MB = 8
SETTINGS = {"engine": "passthrough", "record": "true", "max_sessions": "8", "late_ms": "20000"}


@dataclass
class Disk:
    """A folder of which a plug says that it is full or read-only (``full_disk_fast_vc.py``).

    ``trip`` names what the folder fails at by itself, and from then on: ``write`` or ``rename``.
    """

    home: Path
    folder: str
    error: str
    trip: str = ""

    program: Sequence[str] = (str(ROOT / "tests" / "e2e" / "full_disk_fast_vc.py"),)

    @property
    def path(self) -> Path:
        return self.home / self.folder

    @property
    def switch(self) -> Path:
        return self.home / "fails"

    def fail(self) -> None:
        self.switch.touch()

    def work(self) -> None:
        self.switch.unlink()

    def variables(self) -> dict[str, str]:
        return {
            "DISK_FOLDER": str(self.path),
            "DISK_ERROR": self.error,
            "DISK_SWITCH": str(self.switch),
            "DISK_TRIP": self.trip,
        }

    def settings(self) -> dict[str, str]:
        names = ("logs", "temp", "data", "outputs", "models")
        folders = zip(names, FOLDERS, strict=True)
        return {f"{name}_dir": str(self.home / folder) for name, folder in folders} | SETTINGS


@dataclass
class SmallDisk(Disk):
    """A folder on a file system of its own, which is filled but for ``left_kb``.

    One in use cannot be made read-only, so ``EROFS`` is for the start alone.
    """

    left_kb: int = 0

    program: Sequence[str] = ("-m", "fast_vc_service")

    @property
    def ballast(self) -> Path:
        return self.path / "ballast"

    def fail(self) -> None:
        if self.error == "EROFS":
            mount("-o", "remount,ro", str(self.path))
            return
        with contextlib.suppress(OSError), self.ballast.open("wb", buffering=0) as file:
            while file.write(bytes(1 << 12)) == 1 << 12:
                pass
        with self.ballast.open("r+b") as file:
            file.truncate(self.ballast.stat().st_size - (self.left_kb << 10))

    def work(self) -> None:
        if self.error == "EROFS":
            mount("-o", "remount,rw", str(self.path))
        else:
            self.ballast.unlink()


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@contextmanager
def mounted(path: Path) -> Iterator[None]:
    path.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(path))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@functools.cache
def can_mount() -> bool:
    """Whether a disk of one's own can be had: on Linux, with the right to it."""
    if not sys.platform.startswith("linux") or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with mounted(Path(folder) / "disk"):
                return True
        except subprocess.CalledProcessError:
            return False


@contextmanager
def running(disk: Disk) -> Iterator[RunningService]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in disk.variables().items():
            patch.setenv(name, value)
        service = launch(disk.home, program=disk.program, **disk.settings())
    try:
        service.wait_until("ready")
        yield service
    finally:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


def fast_vc(disk: Disk, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *disk.program, *arguments],
        cwd=disk.home,
        env=environment(disk.home, **disk.settings()) | disk.variables(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
