"""Warnings to a client, no more than one a second of each code."""

from __future__ import annotations

from collections.abc import Callable

from fast_vc_service.protocol.codes import WarningCode
from fast_vc_service.protocol.limits import WARNING_INTERVAL_S


class WarningLimit:
    """Says a warning at once or, when its code was said lately, with those that follow.

    Args:
        say: Sends a warning.
        clock: Monotonic seconds.
    """

    def __init__(self, say: Callable[[WarningCode, str], None], clock: Callable[[], float]) -> None:
        self._say = say
        self._clock = clock
        self._said_at: dict[WarningCode, float] = {}
        self._unsaid: dict[WarningCode, str] = {}

    def warn(self, code: WarningCode, message: str) -> None:
        """Say ``message``, or remember it for :meth:`say_unsaid`."""
        now = self._clock()
        if now - self._said_at.get(code, float("-inf")) < WARNING_INTERVAL_S:
            self._unsaid[code] = message
            return
        self._said_at[code] = now
        self._unsaid.pop(code, None)
        self._say(code, message)

    def say_unsaid(self, quiet_s: float = WARNING_INTERVAL_S) -> None:
        """Say what is remembered, of the codes that were not said for ``quiet_s``."""
        if not self._unsaid:
            return
        now = self._clock()
        for code in [code for code in self._unsaid if now - self._said_at[code] >= quiet_s]:
            self._said_at[code] = now
            self._say(code, self._unsaid.pop(code))
