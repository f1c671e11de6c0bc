"""Names of files as they can be shown: on any terminal, in one line, and never two alike."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOST_BYTES = 200
"""Longest stem of a file that is written; systems allow 255 bytes with suffix and all."""

_QUOTED = "$'"
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\]")


def shown(name: str | Path) -> str:
    r"""Return ``name`` as a shell would read it where it cannot be printed as it is.

    ``$'a\xff.wav'`` is a name with a byte that is no UTF-8; every name has a form of its own.
    """
    text = str(name)
    if text.isprintable() and not text.startswith(_QUOTED):
        return text
    return f"{_QUOTED}{''.join(map(_escaped, text))}'"


def one_line(text: str) -> str:
    """Return ``text`` with everything replaced that a terminal would obey instead of printing."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def writable(stem: str) -> str:
    """Return a stem like ``stem`` that every system and terminal takes; perhaps another's too."""
    text = os.fsencode(stem).decode("utf-8", "replace")
    text = "".join(char if char.isprintable() else "_" for char in _UNSAFE.sub("_", text))
    return text.encode()[:MOST_BYTES].decode("utf-8", "ignore")


def _escaped(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    if char.isprintable():
        return char
    # A byte that is no UTF-8 stands in a name as one half of a surrogate pair.
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))
