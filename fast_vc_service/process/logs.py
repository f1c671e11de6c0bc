"""Logging: one line an event, on stderr and in the service's file, without secrets or audio."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from fast_vc_service.process.log_file import LogFile

if TYPE_CHECKING:
    from loguru import Record

HIDDEN = "***"
MAX_MESSAGE_CHARS = 4000

_SECRETS = re.compile(
    r"(?i)(\bbearer\s+|\b(?:api[_-]?key|authorization|token|secret|password)[\"']?\s*[:=]\s*[\"']?)"
    r"(?!bearer\b)[^\s\"',;&}]+"
)
_BYTES = re.compile(r"\b(?:b|bytearray\(b)(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\)?")
_ARRAYS = re.compile(r"\barray\([^()]*\)")
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127) if code not in {9, 10}} | {
    10: "\\n"
}


def configure(
    *,
    level: str,
    file: Path | None = None,
    as_json: bool = False,
    rotation_mb: int = 50,
    retention_days: int = 14,
    total_mb: int = 500,
    secrets: Iterable[str] = (),
) -> None:
    """Send this process's log lines to stderr and to ``file``.

    Every line carries the session it is about (``logger.contextualize(session_id=...)``), or
    ``-``. Log lines of the standard library, Uvicorn's among them, take the same way from INFO
    up: below it libraries print the frames they carry.

    Args:
        level: Least important level to write, e.g. ``"INFO"``.
        file: Log file; its folder is made. None writes to stderr alone.
        as_json: One JSON object a line instead of text.
        rotation_mb: Megabytes after which a new file is begun.
        retention_days: Days after which old files are deleted.
        total_mb: Megabytes of all files together; the oldest go.
        secrets: Texts that must never appear, whoever logs them.
    """
    render = _renderer(as_json, tuple(secret for secret in secrets if secret))
    logger.remove()
    logger.configure(extra={"session_id": "-"})
    # diagnose=False: with it a traceback would print the values of variables, keys and audio.
    logger.add(sys.stderr, level=level, format=render, diagnose=False, backtrace=False)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        logger.add(
            LogFile(file, rotation_mb, retention_days, total_mb),
            level=level,
            format=render,
            diagnose=False,
            backtrace=False,
        )
    standard = max(logging.INFO, logger.level(level).no)
    logging.basicConfig(handlers=[_Intercept()], level=standard, force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Return ``text`` without keys, tokens, ``secrets``, byte strings and arrays."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = _SECRETS.sub(lambda match: match[1] + HIDDEN, text)
    return _ARRAYS.sub("<array>", _BYTES.sub("<bytes>", text))


def _renderer(as_json: bool, secrets: tuple[str, ...]) -> Callable[[Record], str]:
    """Return the function loguru asks for a line's template."""

    def render(record: Record) -> str:
        line = _as_json(record, secrets) if as_json else _as_text(record, secrets)
        record["extra"]["line"] = line
        return "{extra[line]}\n"

    return render


def _as_text(record: Record, secrets: tuple[str, ...]) -> str:
    line = (
        f"{record['time']:YYYY-MM-DD HH:mm:ss.SSS} {record['level'].name:<7} "
        f"[{_session(record)}] {record['name']}: {_message(record, secrets)}"
    )
    trace = _trace(record, secrets)
    return f"{line}\n{trace.rstrip()}" if trace else line


def _as_json(record: Record, secrets: tuple[str, ...]) -> str:
    content = {
        "time": record["time"].isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "session_id": _session(record),
        "logger": record["name"],
        "message": _message(record, secrets),
    }
    if trace := _trace(record, secrets):
        content["exception"] = trace
    return json.dumps(content, ensure_ascii=False)


def _session(record: Record) -> str:
    return str(record["extra"].get("session_id", "-")).translate(_CONTROL)


def _message(record: Record, secrets: tuple[str, ...]) -> str:
    # Control characters of a client's text must not forge lines of their own; names of files may
    # hold what no file of text can.
    message = scrub(record["message"], secrets).translate(_CONTROL)
    message = message.encode("utf-8", "backslashreplace").decode()
    if len(message) > MAX_MESSAGE_CHARS:
        return f"{message[:MAX_MESSAGE_CHARS]}... ({len(message)} characters)"
    return message


def _trace(record: Record, secrets: tuple[str, ...]) -> str:
    found = record["exception"]
    if found is None or found.value is None:
        return ""
    return scrub("".join(traceback.format_exception(found.value)), secrets)


class _Intercept(logging.Handler):
    """Hands records of the standard library to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno

        def rename(ours: Record) -> None:
            ours["name"] = record.name

        named = logger.patch(rename).opt(exception=record.exc_info)
        named.log(level, "{}", record.getMessage())
