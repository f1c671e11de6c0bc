"""What the JavaScript client repeats of the protocol's definition: declarations, option names."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from fast_vc_service.protocol.members import REQUIRED, Member
from fast_vc_service.protocol.schemas import english, plain
from fast_vc_service.protocol.values import EncodingName, Schema, Shape, Voice
from fast_vc_service.protocol.wire import CONFIG, FAILED, SERVER_MESSAGES, Message

_BEGIN = (
    "// Written by scripts/protocol.py from fast_vc_service/protocol; do not edit up to the end."
)
_WIDTH = 100
_SCALARS = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
_END = "// The end of what is written."


def write_declarations(text: str) -> str:
    """Return the declarations with the part that the definition makes, made anew.

    Raises:
        ValueError: They have no such part.
    """
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"expected a line {_BEGIN!r} and a line {_END!r}")
    told = [
        message
        for message in SERVER_MESSAGES
        if message.dialect == "standard" and message is not FAILED
    ]
    parts = [_options(), *(_message(message) for message in told)]
    made = "\n\n".join("\n".join(part) for part in parts)
    return f"{before}{_BEGIN}\n\n{made}\n\n{_END}{after}"


def option_names() -> str:
    """Return the module with the wire names of the options that go to the service as they are."""
    lines = [f'  {_camel(member.name)}: "{member.name}",' for member in _chosen()]
    return "\n".join(
        [
            "// @ts-check",
            "// Written by scripts/protocol.py from fast_vc_service/protocol; do not edit.",
            "",
            "/** Names on the wire of the options that are sent as they are given. */",
            "export const OPTION_NAMES = {",
            *lines,
            "};",
            "",
        ]
    )


def _chosen() -> list[Member]:
    return [member for _, member in CONFIG.members() if "browser" in member.asked.clients]


def _options() -> list[str]:
    lines = ["/** What goes to the service as it is given. */", "export interface SessionOptions {"]
    for member in _chosen():
        lines += _line(_camel(member.name), english(member), _type(member.asked.kind), "?")
    return [*lines, "}"]


def _message(message: Message) -> list[str]:
    """Return the interface of a message, or of the member that holds all it says."""
    name = message.model.__name__ if message.inside is None else message.inside.capitalize()
    lines = [f"/** {message.summary} */", f"export interface {name} {{"]
    if message.inside is None:
        lines.append(f'  {message.tag[0]}: "{message.tag[1]}";')
    groups: dict[str | None, list[str]] = {}
    for member_name, member in message.members():
        optional = "" if member.default is REQUIRED else "?"
        inside = member.told.inside
        line = _line(member_name, english(member), _type(member.told.kind), optional)
        if inside is not None and inside not in groups:
            lines.append(f"<{inside}>")
        groups.setdefault(inside, []).extend(line)
        if inside is None:
            lines += line
    return [*_with_groups(lines, groups), "}"]


def _with_groups(lines: Iterable[str], groups: dict[str | None, list[str]]) -> list[str]:
    whole: list[str] = []
    for line in lines:
        group = re.fullmatch(r"<(\w+)>", line)
        if group is None:
            whole.append(line)
        else:
            inner = [f"  {inner}" for inner in groups[group[1]]]
            whole += [f"  {group[1]}: {{", *inner, "  };"]
    return whole


def _line(name: str, words: str, kind: str, optional: str) -> list[str]:
    return [*_comment(plain(words)), f"  {name}{optional}: {kind};"]


def _comment(words: str) -> list[str]:
    short = f"  /** {words} */"
    if len(short) <= _WIDTH:
        return [short] if words else []
    lines = textwrap.wrap(words, _WIDTH, initial_indent="   * ", subsequent_indent="   * ")
    return ["  /**", *lines, "   */"]


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def _type(kind: Shape) -> str:
    if isinstance(kind, EncodingName):
        return " | ".join(f'"{name}"' for name in kind.schema["enum"])
    return "Voice" if isinstance(kind, Voice) else _of_schema(kind.schema)


def _of_schema(schema: Schema) -> str:
    if "oneOf" in schema:
        return " | ".join(_of_schema(option) for option in schema["oneOf"])
    if "enum" in schema:
        # A newer service may have more codes than these.
        return "string"
    kind = schema["type"]
    if isinstance(kind, list):
        return " | ".join(_SCALARS[one] for one in kind)
    if kind == "object":
        (value,) = {_of_schema(member) for member in schema["properties"].values()}
        names = " | ".join(f'"{name}"' for name in schema["properties"])
        return f"Record<{names}, {value}>"
    return _SCALARS[kind]
