"""The client's Python types, of the protocol's definition."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from fast_vc_service.protocol.members import REQUIRED, Member
from fast_vc_service.protocol.schemas import english, plain
from fast_vc_service.protocol.values import EncodingName, Schema, Shape, Voice
from fast_vc_service.protocol.wire import CONFIG, FAILED, SERVER_MESSAGES, SIMPLE_START, Message

HEAD = '''\
"""What a session is asked for and what the server answers, as a client sees it.

Written by scripts/protocol.py from fast_vc_service/protocol; do not edit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from fast_vc_service.client.from_json import FromJson
from fast_vc_service.protocol.limits import Encoding
from fast_vc_service.protocol.voice_choice import JsonVoice
'''
_WIDTH = 100
_SCALARS = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}


def python_types() -> str:
    """Return the module."""
    told = [
        message
        for message in SERVER_MESSAGES
        if message.dialect == "standard" and message.inside is None and message is not FAILED
    ]
    classes = [_options(), *(_told(message) for message in told)]
    kinds = [f'    "{message.tag[1]}": {message.model.__name__},' for message in told]
    names = " | ".join(message.model.__name__ for message in told)
    table = [
        f"SERVER_TYPES: Mapping[str, type[{names}]] = {{",
        *kinds,
        "}",
        '"""By the value of ``type``."""',
    ]
    return HEAD + "\n\n" + "\n\n\n".join("\n".join(part) for part in [*classes, table]) + "\n"


def _options() -> list[str]:
    known = {member.name for _, member in SIMPLE_START.members()}
    members = [member for _, member in CONFIG.members() if "python" in member.asked.clients]
    simple = ", ".join(f"``{member.name}``" for member in members if member.name in known)
    lines = [
        "class SessionOptions(TypedDict, total=False):",
        '    """What a client may ask for; what is left out is the server\'s choice.',
        "",
        *_wrapped(f"The simple dialect knows only {simple}.", "    "),
        "",
        *_attributes((member.name, english(member)) for member in members),
        '    """',
        "",
    ]
    return lines + [f"    {member.name}: {_python_type(member.asked.kind)}" for member in members]


def _told(message: Message) -> list[str]:
    groups: dict[str, list[str]] = {}
    fields: list[str] = []
    words: list[tuple[str, str]] = []
    for _, member in message.members():
        inside = member.told.inside
        if inside is None:
            fields.append(f"    {member.name}: {_type_and_default(member)}")
            words.append((member.name, english(member)))
            continue
        if inside not in groups:
            fields.append(f"    {inside}: Mapping[str, float] = field(default_factory=dict)")
            words.append((inside, inside))
        groups.setdefault(inside, []).append(f"``{member.name}``")
    told = [(name, ", ".join(groups[name]) if name in groups else text) for name, text in words]
    doc = (message.model.__doc__ or "").strip()
    lines = ["@dataclass(frozen=True, slots=True)", f"class {message.model.__name__}(FromJson):"]
    if any(text for _, text in told):
        lines += [f'    """{doc}', "", "    None: an older server that does not say.", ""]
        lines += [*_attributes(told), '    """']
    else:
        lines += [f'    """{doc}"""']
    return [*lines, "", *fields]


def _type_and_default(member: Member) -> str:
    assumed = member.told.assumed
    if assumed is REQUIRED:
        return _python_type(member.told.kind)
    if assumed is None:
        return f"{_python_type(member.told.kind)} | None = None"
    shown = f'"{assumed}"' if isinstance(assumed, str) else repr(assumed)
    return f"{_python_type(member.told.kind)} = {shown}"


def _attributes(words: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> list[str]:
    lines = ["    Attributes:"]
    for name, text in words:
        lines += _wrapped(f"{name}: {plain(text)}", "        ", "            ")
    return lines


def _wrapped(text: str, first: str, others: str | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=first if others is None else others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _python_type(kind: Shape) -> str:
    if isinstance(kind, Voice):
        return "JsonVoice"
    return "Encoding" if isinstance(kind, EncodingName) else _of_schema(kind.schema)


def _of_schema(schema: Schema) -> str:
    if "oneOf" in schema:
        return " | ".join(_of_schema(option) for option in schema["oneOf"])
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values is not None:
        return "str" if isinstance(values[0], str) else "int"
    kind = schema["type"]
    if isinstance(kind, list):
        return " | ".join(_SCALARS[one] for one in kind)
    if kind == "object":
        (value,) = {_of_schema(member) for member in schema["properties"].values()}
        return f"Mapping[str, {value}]"
    return _SCALARS[kind]
