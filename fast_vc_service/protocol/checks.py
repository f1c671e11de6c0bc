"""Checks of single values, and how they refuse: what was expected, what came, what to do."""

from __future__ import annotations

from typing import NoReturn

from fast_vc_service.protocol.json_text import MessageError, shown


def whole(value: object) -> int | None:
    """Return ``value`` as an int when it is a JSON number without a fraction, else None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def whole_number(name: str, value: object, low: int, high: int, hint: str) -> int:
    """Return ``value`` as a whole number from ``low`` to ``high``.

    Raises:
        MessageError: It is none.
    """
    expected = f"a whole number from {low} to {high}"
    number = whole(value)
    if number is None:
        wrong_type(name, expected, value)
    if not low <= number <= high:
        out_of_range(name, expected, value, hint)
    return number


def chosen_number(name: str, value: object, allowed: tuple[int, ...], hint: str) -> int:
    """Return ``value`` as one of the whole numbers ``allowed``.

    Raises:
        MessageError: It is none.
    """
    *most, last = map(str, allowed)
    expected = f"{', '.join(most)} or {last}" if most else last
    number = whole(value)
    if number is None:
        wrong_type(name, expected, value)
    if number not in allowed:
        out_of_range(name, expected, value, hint)
    return number


def is_unicode(text: str) -> bool:
    """Tell whether ``text`` can be sent on: JSON escapes may hold half a surrogate pair."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def wrong_type(name: str, expected: str, value: object) -> NoReturn:
    """Refuse a value that is of another type than ``expected``."""
    quoted = isinstance(value, str) and value.strip().lower() in {"true", "false"}
    if isinstance(value, str) and (quoted or value.strip().replace(".", "", 1).isdigit()):
        hint = "send the value without quotes"
    else:
        hint = f"leave {name} out, or send {expected}"
    raise MessageError(f"{name} has the wrong type", expected=expected, got=shown(value), hint=hint)


def out_of_range(name: str, expected: str, value: object, hint: str) -> NoReturn:
    """Refuse a value that is not among those ``expected``."""
    raise MessageError(f"{name} is out of range", expected=expected, got=shown(value), hint=hint)


def default_hint(name: str, default: float) -> str:
    """Return the hint for a member that can be left out."""
    return f"leave {name} out for the default, {default}"
