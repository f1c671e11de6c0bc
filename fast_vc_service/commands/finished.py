"""What conversions of many files have finished, so that they can go on where they were stopped."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

FINISHED = ".converted.jsonl"
"""Name of the list of what is finished, in the output folder of a run with ``resume``."""


class Finished:
    """What runs with ``resume`` have finished in an output folder, kept beside the files.

    Args:
        folder: The output folder.
        settings: What a file is converted with; whatever was converted otherwise does not count.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self._path = folder / FINISHED
        self._settings = dict(settings)
        self._lock = threading.Lock()
        self._known: set[str] = set()
        with suppress(OSError):
            self._known = set(self._path.read_text(encoding="utf-8").splitlines())

    def has(self, source: Path, output: Path) -> bool:
        """Tell whether ``output`` was made of ``source`` as that is now."""
        return output.is_file() and self._entry(source, output) in self._known

    def add(self, source: Path, output: Path) -> None:
        """Note that ``output`` was made of ``source``; in one write, so that none is cut short."""
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(self._entry(source, output) + "\n")

    def _entry(self, source: Path, output: Path) -> str:
        try:
            state = source.stat()
        except OSError:
            return ""
        seen = [str(source.absolute()), state.st_size, state.st_mtime_ns]
        return json.dumps({"source": seen, "output": output.name, **self._settings})
