"""Which files are to be converted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import soundfile

from fast_vc_service.process.names import writable

_SUFFIXES = frozenset(
    f".{name.lower()}"
    for name in (
        *(*soundfile.available_formats(), "aif", "oga", "opus"),
        *("m4a", "mp4", "aac", "webm"),
    )
)


def find_files(
    sources: Sequence[Path],
    output_dir: Path | None = None,
    passed_over: Callable[[Path, str], None] = lambda _path, _why: None,
) -> Iterator[tuple[Path, Path]]:
    """Yield each file of ``sources`` with its place under the output folder, without suffix.

    Files of a folder keep their subfolders; places are made different by a number. What a name
    holds that cannot be printed, or is too long, is replaced in its place. A source that is no
    folder is yielded as it is, even if it is missing.

    Args:
        sources: Files and folders.
        output_dir: Where conversions go; what lies there is no source of a folder's.
        passed_over: Told each file of a folder that is not taken, and why.
    """
    taken: set[Path] = set()

    def unique(source: Path) -> Path:
        place = Path(*map(writable, source.parts))
        free, number = place, 2
        while free in taken:
            free, number = place.with_name(f"{place.name}-{number}"), number + 1
        taken.add(free)
        return free

    for source in sources:
        if not source.is_dir():
            yield source, unique(Path(source.stem))
            continue
        found = []
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            why = _why_not(path, source, output_dir)
            if why is None:
                found.append(path)
            else:
                passed_over(path, why)
        if not found:
            # Yielded so that it is reported as what cannot be converted.
            yield source, unique(Path(source.name))
        for path in found:
            yield path, unique(path.relative_to(source).with_suffix(""))


def _why_not(path: Path, folder: Path, output_dir: Path | None) -> str | None:
    """Say why a file of ``folder`` is not converted; None when it is."""
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return "it is hidden"
    own = None if output_dir is None else output_dir.resolve()
    if own is not None and own != folder.resolve() and own in path.resolve().parents:
        return "it lies in the output folder"
    if path.suffix.lower() not in _SUFFIXES:
        return "its suffix is none of an audio file"
    return None
