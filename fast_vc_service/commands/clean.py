"""What ``fast-vc clean`` may remove: never a file of a running service."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fast_vc_service.errors import SettingsError
from fast_vc_service.process.lock import is_locked
from fast_vc_service.process.scratch import LOCK, UPLOADS
from fast_vc_service.process.service_info import ServiceInfo

_KEPT = frozenset({".gitkeep", ".gitignore"})
_UNFINISHED = "_timeline.jsonl"
_RECORDING_FOLDER = re.compile(r"\d{4}/\d{2}/\d{2}")


def log_files(folder: Path, running: Iterable[ServiceInfo]) -> list[Path]:
    """Return the log files under ``folder``, rotated ones too."""
    live = tuple(f"{Path(info.log_path).stem}." for info in running)
    found = (path for path in _files(folder) if ".log" in path.suffixes)
    return [path for path in found if not path.name.startswith(live)]


def temp_files(folder: Path, running: Iterable[ServiceInfo]) -> list[Path]:
    """Return what lies under ``folder``."""
    stems = [f"fast_vc_service_port_{info.port}" for info in running]
    live = (*(f"{stem}." for stem in stems), *(f"{stem}_" for stem in stems), ".service_info_")
    in_use = _in_use(folder / UPLOADS)
    return [
        path
        for path in _files(folder)
        if not path.name.startswith(live) and not any(map(path.is_relative_to, in_use))
    ]


def _in_use(uploads: Path) -> list[Path]:
    """Return the folders of uploads whose process lives, and the lock beside them."""
    if not uploads.is_dir():
        return []
    found = [folder for folder in uploads.iterdir() if is_locked(folder / LOCK)]
    return [*found, uploads / LOCK] if found else []


def output_files(folder: Path, running: Iterable[ServiceInfo]) -> list[Path]:
    """Return what lies under ``folder``, but for recordings made since a service runs there."""
    services = [info for info in running if _is_same(Path(info.outputs_dir), folder)]
    files = list(_files(folder))
    if not services:
        return files
    since = min(info.start_time for info in services)
    # Whatever the clock says: what has no finished timeline is perhaps being recorded.
    unfinished = {
        str(path).removesuffix(_UNFINISHED) for path in files if path.name.endswith(_UNFINISHED)
    }

    def live(path: Path) -> bool:
        place = path.parent.relative_to(folder).as_posix()
        if _RECORDING_FOLDER.fullmatch(place) is None:
            return False
        recording = str(path).rpartition("_")[0]
        return recording in unfinished or path.lstat().st_mtime >= since

    return [path for path in files if not live(path)]


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one == other


def check_folder(folder: Path, home: Path, name: str) -> None:
    """Refuse to empty a folder that holds more than the service's own files.

    Raises:
        SettingsError: ``folder`` is ``home``, the user's home folder, or above one of them.
    """
    for precious in (home.resolve(), *_home()):
        if precious.is_relative_to(folder.resolve()):
            raise SettingsError(
                f"{name}: expected a folder of the service's own to clean, got '{folder}', "
                f"which holds {precious}"
            )


def _home() -> list[Path]:
    try:
        return [Path.home()]
    except RuntimeError:  # neither HOME nor an entry among the system's users
        return []


def remove(paths: Iterable[Path], folders: Iterable[Path]) -> None:
    """Remove files, and the folders below ``folders`` that are empty then.

    Raises:
        OSError: One cannot be removed.
    """
    for path in paths:
        path.unlink(missing_ok=True)
    for folder in folders:
        for place, _, _ in os.walk(folder, topdown=False):
            if Path(place) != folder and not any(Path(place).iterdir()):
                Path(place).rmdir()


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        yield from (Path(place) / name for name in sorted(files + links) if name not in _KEPT)
