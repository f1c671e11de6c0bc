"""The tables and examples of the documentation that the protocol's definition makes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from fast_vc_service.protocol.codes import ErrorCode
from fast_vc_service.protocol.members import REQUIRED, Asked, members_of
from fast_vc_service.protocol.messages import Complete
from fast_vc_service.protocol.schemas import chinese as in_chinese
from fast_vc_service.protocol.schemas import english
from fast_vc_service.protocol.wire import CLIENT_MESSAGES, CONFIG, READY, SERVER_MESSAGES, Message

_TABLE = re.compile(
    r"(?P<begin><!-- table: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end table -->)", re.DOTALL
)
_EXAMPLE = re.compile(
    r"(?P<begin><!-- example: (?P<name>[\w-]+) -->\n```json\n).*?(?P<end>^```$)",
    re.DOTALL | re.MULTILINE,
)
_HEADS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "messages": (("message", "sent by", "members", "says"), ("消息", "发送方", "成员")),
    "config": (("field", "default", "meaning"), ("字段", "默认值", "含义")),
    "stats": (("member of `stats`", "meaning"), ("`stats` 的成员", "含义")),
    "errors": (("`error_code`", "close code", "when"), ("`error_code`", "关闭代码", "何时")),
    "close-codes": (("`error_code`", "close code"), ("`error_code`", "关闭代码")),
}


def write_page(text: str, *, chinese: bool) -> str:
    """Return a page with its tables and examples made anew.

    Raises:
        ValueError: The page has none of them.
    """
    if not _TABLE.search(text):
        raise ValueError("expected '<!-- table: NAME -->' and '<!-- end table -->', found neither")

    def table(place: re.Match[str]) -> str:
        name = place["name"]
        lines = [_row(_HEADS[name][chinese]), "|" + "---|" * len(_HEADS[name][chinese])]
        lines += [_row(cells) for cells in _rows(name, chinese=chinese)]
        return "\n".join([place["begin"], *lines, "", place["end"]])

    def example(place: re.Match[str]) -> str:
        made = {"config-full": CONFIG, "ready": READY}.get(place["name"])
        if made is None:
            return place[0]
        return f"{place['begin']}{json.dumps(example_of(made), indent=2)}\n{place['end']}"

    return _EXAMPLE.sub(example, _TABLE.sub(table, text))


def example_of(message: Message) -> dict[str, Any]:
    """Return a message with all its members, as the pages show it."""
    content: dict[str, Any] = dict([message.tag])
    for name, member in message.members():
        about = member.about
        value = about.example
        if isinstance(about, Asked):
            content[name] = member.default if value is None else value
        else:
            place = content if about.inside is None else content.setdefault(about.inside, {})
            place[name] = value
    return content


def _rows(table: str, *, chinese: bool) -> Iterator[tuple[str, ...]]:
    meaning = in_chinese if chinese else english
    if table == "messages":
        senders = ("客户端", "服务器") if chinese else ("client", "server")
        for sender, messages in zip(senders, (CLIENT_MESSAGES, SERVER_MESSAGES), strict=True):
            for message in messages:
                tag = json.dumps(dict([message.tag]))
                members = ", ".join(f"`{name}`" for name in _paths(message))
                row = (f"`{tag}`", sender, members)
                yield row if chinese else (*row, message.summary)
    elif table == "config":
        tag, value = CONFIG.tag
        yield f"`{tag}`", "", f'`"{value}"`'
        for name, member in CONFIG.members():
            otherwise = member.asked.otherwise
            default = otherwise.zh if chinese else otherwise.en
            if member.default not in (None, REQUIRED):
                shown = json.dumps(member.default)
                default = f"`{shown}`" if isinstance(member.default, str) else shown
            yield f"`{name}`", default, meaning(member)
    elif table == "stats":
        comma = "、" if chinese else ", "
        # Members of one meaning share a row, where the first of them stands.
        rows: dict[str, list[str]] = {}
        for member in members_of(Complete):
            rows.setdefault(meaning(member), []).append(f"`{member.name}`")
        for words, names in rows.items():
            yield comma.join(names), words
    else:
        for code in ErrorCode:
            codes = (f"`{code}`", str(code.close_code))
            when = code.when.zh if chinese else code.when.en
            yield codes if table == "close-codes" else (*codes, when)


def _paths(message: Message) -> Iterator[str]:
    """Yield the members of a message, ``stats.sent_ms`` for one that stands in another."""
    for name, member in message.members():
        about = member.about
        inside = message.inside if isinstance(about, Asked) else about.inside or message.inside
        yield name if inside is None else f"{inside}.{name}"


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells).replace("|  |", "| |") + " |"
