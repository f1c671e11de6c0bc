"""Registers of speakers, remembered by the microphone that they speak into."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from fast_vc_service.protocol.limits import SOURCE_F0_HZ


class RememberedRegisters:
    """A small file of what services have learned: median F0 in Hz, by the microphone's name.

    It only makes first words better, so a file that cannot be read or written changes nothing
    else: then nothing is known, and nothing remembered.

    Args:
        path: The file; made with its folder when there is something to remember.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, microphone: str) -> float | None:
        """Return what is remembered for ``microphone``; None for nothing that can be used."""
        f0_hz = self._read().get(microphone)
        lowest, highest = SOURCE_F0_HZ
        if isinstance(f0_hz, int | float) and lowest <= f0_hz <= highest:
            return float(f0_hz)
        return None

    def remember(self, microphone: str, f0_hz: float) -> None:
        """Keep ``f0_hz`` for ``microphone``, in place of what was there."""
        self._write({**self._read(), microphone: round(f0_hz, 1)})

    def forget(self, microphone: str) -> None:
        """Forget what is remembered for ``microphone``."""
        known = self._read()
        if microphone in known:
            del known[microphone]
            self._write(known)

    def _read(self) -> dict[str, object]:
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self, known: dict[str, object]) -> None:
        part = self._path.with_name(f".{self._path.name}.part")
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(known, ensure_ascii=False, indent=2), encoding="utf-8")
            part.replace(self._path)
