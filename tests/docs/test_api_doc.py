"""The examples of the API page are what the dialects understand and say, to the letter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fast_vc_service.protocol.codes import ErrorCode, WarningCode
from fast_vc_service.protocol.members import members_of
from fast_vc_service.protocol.messages import (
    Complete,
    End,
    GoingAway,
    Marker,
    MarkerReached,
    Notice,
    Update,
    Updated,
    Warned,
)
from fast_vc_service.protocol.opening import Ready, Start
from fast_vc_service.protocol.voice_choice import Blend
from fast_vc_service.server.websocket.dialects.dialect import Dialect
from fast_vc_service.server.websocket.dialects.first_message import parse_first
from fast_vc_service.sessions.errors import SessionError
from pages import ROOT, Page

PATH = ROOT / "docs" / "api_docs" / "websocket-api-doc.md"
EXAMPLES = {name: code for name, (_, code) in Page(PATH, PATH.read_text()).examples.items()}

FULL_START = Start(
    **{
        member.name: member.default if member.about.example is None else member.about.example
        for member in members_of(Start)
    }
)
OPUS_START = Start(
    sample_rate=48_000,
    encoding="OPUS",
    sample_rate_out=48_000,
    encoding_out="OPUS",
    bitrate_out=24_000,
)
SIMPLE_START = Start(
    session_id="call-4711",
    api_key="a-long-secret-of-your-own",
    encoding="OPUS",
    sample_rate_out=24_000,
    voice="alto",
    source_f0_hz=118.5,
)
FIRST_MESSAGES = {
    "config-minimal": ("standard", Start()),
    "config-full": ("standard", FULL_START),
    "config-opus": ("standard", OPUS_START),
    "config-blend": ("standard", Start(voice=Blend((("alto", 0.6), ("bass", 0.4))))),
    "simple-start": ("simple", Start(session_id="call-4711")),
    "simple-start-full": ("simple", SIMPLE_START),
}
LATER_MESSAGES = {
    "marker": ("standard", Marker("sentence-1")),
    "update": ("standard", Update("alto", 2.0)),
    "end": ("standard", End()),
    "simple-end": ("simple", End()),
}
NOTICES: dict[str, tuple[str, type[Notice]]] = {
    "marker-reached": ("standard", MarkerReached),
    "updated": ("standard", Updated),
    "warning": ("standard", Warned),
    "going-away": ("standard", GoingAway),
    "complete": ("standard", Complete),
}
ERRORS = ["error-invalid-config", "error-unknown-voice", "error-busy"]
OTHERS = {"ready", "simple-completed", "simple-failed"}


def dialect(name: str) -> Dialect:
    hello = {"standard": "config-minimal", "simple": "simple-start"}[name]
    return parse_first(EXAMPLES[hello])[0]


def said(text: str | None) -> Any:
    assert text is not None
    return json.loads(text)


def test_every_example_is_tested() -> None:
    tested = {*FIRST_MESSAGES, *LATER_MESSAGES, *NOTICES, *ERRORS, *OTHERS}
    assert set(EXAMPLES) == tested


@pytest.mark.parametrize("name", FIRST_MESSAGES)
def test_first_messages_are_understood(name: str) -> None:
    spoken, start = parse_first(EXAMPLES[name])
    assert (spoken.name, start) == FIRST_MESSAGES[name]


@pytest.mark.parametrize("name", LATER_MESSAGES)
def test_later_messages_are_understood(name: str) -> None:
    spoken, event = LATER_MESSAGES[name]
    assert dialect(spoken).parse(EXAMPLES[name]) == event


def test_the_hello_is_as_shown() -> None:
    shown = json.loads(EXAMPLES["ready"])
    fields = {key: value for key, value in shown.items() if key not in {"type", "limits"}}
    ready = Ready(**fields, **shown["limits"])
    assert said(dialect("standard").ready(ready)) == shown
    assert dialect("simple").ready(ready) is None


@pytest.mark.parametrize("name", NOTICES)
def test_notices_are_as_shown(name: str) -> None:
    spoken, kind = NOTICES[name]
    shown = json.loads(EXAMPLES[name])
    fields = shown["stats"] if kind is Complete else {k: v for k, v in shown.items() if k != "type"}
    if kind is Warned:
        fields["code"] = WarningCode(fields["code"])
    assert said(dialect(spoken).notice(kind(**fields))) == json.loads(EXAMPLES[name])


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_as_shown(name: str) -> None:
    shown = json.loads(EXAMPLES[name])
    error = SessionError(ErrorCode(shown["error_code"]), shown["message"], **shown["details"])
    assert said(dialect("standard").error(error, "call-4711")) == shown


def test_the_simple_dialect_says_only_what_is_shown() -> None:
    simple = dialect("simple")
    stats = json.loads(EXAMPLES["complete"])["stats"]
    assert said(simple.notice(Complete(**stats))) == json.loads(EXAMPLES["simple-completed"])
    shown = json.loads(EXAMPLES["simple-failed"])
    error = SessionError(ErrorCode.BUSY, shown["error_msg"])
    assert said(simple.error(error, shown["stream_id"])) == shown
    assert simple.notice(GoingAway(30.0)) is None
