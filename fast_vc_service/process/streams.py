"""The three streams that every program expects to be open."""

from __future__ import annotations

import io
import os
import sys

_MODES = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def reopen_closed() -> None:
    """Put nothing where stdin, stdout or stderr were closed when the process began.

    Python knows no stream there then, and the first file or socket that is opened would get the
    number, so that whoever writes a message to it would write into that.
    """
    for number, (name, mode) in enumerate(_MODES):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number, inheritable=True)
                os.close(handle)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def print_anything() -> None:
    """Have stdout and stderr escape what their encoding lacks, where they would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
