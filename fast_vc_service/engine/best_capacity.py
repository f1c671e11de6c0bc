"""The most sessions that an engine has ever carried on this machine: a file that only informs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path

from loguru import logger


class BestCapacity:
    """What is remembered of one engine with one latency; other engines share the file.

    Neither a file that cannot be read nor one that cannot be written stops anything.

    Args:
        path: The file; None remembers nothing beyond the process.
        engine: Names the engine, its geometry and its devices.
    """

    def __init__(self, path: Path | None, engine: str) -> None:
        self._path = path
        self._key = f"{engine}, {os.cpu_count()} x {_processor()}"
        self.sessions = self._read().get(self._key, 0)

    def note(self, sessions: int) -> None:
        """Take note that ``sessions`` fit."""
        if sessions <= self.sessions:
            return
        self.sessions = sessions
        if self._path is None:
            return
        partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps({**self._read(), self._key: sessions}, indent=1))
            partial.replace(self._path)
        except OSError as error:
            logger.debug("{} cannot be written: {}", self._path, error)

    def _read(self) -> Mapping[str, int]:
        if self._path is None:
            return {}
        try:
            content = json.loads(self._path.read_bytes())
            return {str(key): int(value) for key, value in content.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            logger.debug("{} cannot be read: {}", self._path, error)
            return {}


def _processor() -> str:
    """Name the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
