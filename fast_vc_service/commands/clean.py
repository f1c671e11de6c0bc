"""What ``fast-vc clean`` may remove: never a file of a running service."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from fast_vc_service.errors import SettingsError
from fast_vc_service.lifecycle import ServiceInfo

_KEPT = frozenset({".gitkeep", ".gitignore"})
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
    return [path for path in _files(folder) if not path.name.startswith(live)]


def output_files(folder: Path, running: Iterable[ServiceInfo]) -> list[Path]:
    """Return what lies under ``folder``, but for recordings made since a service runs there."""
    services = [info for info in running if Path(info.outputs_dir) == folder]
    since = min((info.start_time for info in services), default=None)

    def live(path: Path) -> bool:
        place = path.parent.relative_to(folder).as_posix()
        return (
            since is not None
            and _RECORDING_FOLDER.fullmatch(place) is not None
            and path.lstat().st_mtime >= since
        )

    return [path for path in _files(folder) if not live(path)]


def check_folder(folder: Path, home: Path, name: str) -> None:
    """Refuse to empty a folder that holds more than the service's own files.

    Raises:
        SettingsError: ``folder`` is ``home``, the user's home folder, or above one of them.
    """
    for precious in (home.resolve(), Path.home()):
        if precious.is_relative_to(folder.resolve()):
            raise SettingsError(
                f"{name}: expected a folder of the service's own to clean, got '{folder}', "
                f"which holds {precious}"
            )


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
