import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from fast_vc_service.protocol.codes import ErrorCode, WarningCode
from fast_vc_service.protocol.messages import (
    Complete,
    End,
    GoingAway,
    Marker,
    MarkerReached,
    Update,
    Updated,
    Warned,
)
from fast_vc_service.protocol.opening import Ready
from fast_vc_service.protocol.voice_choice import Blend
from fast_vc_service.server.websocket.dialects.dialect import Dialect, Refused
from fast_vc_service.server.websocket.dialects.simple import SIMPLE
from fast_vc_service.server.websocket.dialects.standard import STANDARD
from fast_vc_service.sessions.errors import SessionError

READY = Ready(
    session_id="call 😀",
    message="session is ready, send audio",
    sample_rate_out=24_000,
    encoding_out="PCM",
    opus_pre_skip_samples=0,
    voice="ref-24k",
    engine="world",
    block_ms=200.0,
    delay_ms=84.0,
    latency_ms=284.0,
    recording=False,
    max_message_bytes=1_048_576,
    idle_timeout_s=120.0,
    max_session_s=0.0,
    max_buffered_ms=2000.0,
    server_version="0.1.0",
)

COMPLETE = Complete(
    total_processed_ms=5000.0,
    chunks_processed=26,
    average_latency_ms=41.0,
    received_ms=5000.0,
    sent_ms=5000.0,
    sent_samples=120_000,
    silenced_ms=0.0,
    concealed_ms=0.0,
    latency_p50_ms=40.0,
    latency_p95_ms=55.0,
    latency_p99_ms=60.0,
    real_time_factor={"mean": 0.2, "p95": None},
    is_real_time=True,
    source_f0_hz=118.5,
)

BUSY = SessionError(ErrorCode.BUSY, "the service is full", hint="try again later", retry_after_s=5)
UNKNOWN_VOICE = SessionError(
    ErrorCode.UNKNOWN_VOICE,
    "there is no voice 'robot'",
    expected="one of details.available",
    got="robot",
    available=["alto", "bass"],
)


def test_ready_has_its_limits_in_one_object() -> None:
    assert json.loads(STANDARD.ready(READY)) == {
        "type": "ready",
        "session_id": "call 😀",
        "message": "session is ready, send audio",
        "sample_rate_out": 24_000,
        "encoding_out": "PCM",
        "opus_pre_skip_samples": 0,
        "voice": "ref-24k",
        "engine": "world",
        "block_ms": 200.0,
        "delay_ms": 84.0,
        "latency_ms": 284.0,
        "recording": False,
        "limits": {
            "max_message_bytes": 1_048_576,
            "idle_timeout_s": 120.0,
            "max_session_s": 0.0,
            "max_buffered_ms": 2000.0,
        },
        "server_version": "0.1.0",
    }


def test_complete_has_everything_in_stats() -> None:
    told = json.loads(STANDARD.notice(COMPLETE))
    assert told == {"type": "complete", "stats": asdict(COMPLETE)}


def test_notices_are_flat() -> None:
    assert json.loads(STANDARD.notice(MarkerReached("m", 1400.0, 1200.0))) == {
        "type": "marker",
        "id": "m",
        "received_ms": 1400.0,
        "sent_ms": 1200.0,
    }
    assert json.loads(STANDARD.notice(Updated("alto", 2.0, 1600.0))) == {
        "type": "updated",
        "voice": "alto",
        "pitch_shift": 2.0,
        "from_sent_ms": 1600.0,
    }
    assert json.loads(STANDARD.notice(Warned(WarningCode.LATE, "late", 400.0))) == {
        "type": "warning",
        "code": "LATE",
        "message": "late",
        "silenced_ms": 400.0,
    }
    assert json.loads(STANDARD.notice(GoingAway(30.0))) == {"type": "going_away", "in_s": 30.0}


def test_error_leaves_out_what_it_does_not_know() -> None:
    assert json.loads(STANDARD.error(BUSY, "s")) == {
        "type": "error",
        "error_code": "BUSY",
        "message": "the service is full",
        "details": {"hint": "try again later", "retry_after_s": 5},
    }
    assert json.loads(STANDARD.error(UNKNOWN_VOICE, None))["details"] == {
        "expected": "one of details.available",
        "got": "robot",
        "available": ["alto", "bass"],
    }


def test_frames_are_ascii_whatever_they_hold() -> None:
    error = SessionError(ErrorCode.INTERNAL_ERROR, "é \ud800 \u2028")
    for text in (STANDARD.error(error, None), SIMPLE.error(error, "\ud800"), STANDARD.ready(READY)):
        assert text.isascii()


def test_a_number_json_does_not_have_is_never_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        STANDARD.notice(GoingAway(float("nan")))


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ('{"type":"end"}', End()),
        ('{"type":"end","reason":5}', End()),
        ('{"type":"marker","id":"x"}', Marker("x")),
        ('{"type":"marker","id":""}', Marker("")),
        ('{"type":"marker","id":-7}', Marker(-7)),
        ('{"type":"marker","id":7.0}', Marker(7)),
        ('{"type":"update","voice":"alto"}', Update(voice="alto")),
        ('{"type":"update","pitch_shift":0}', Update(pitch_shift=0.0)),
        ('{"type":"update","voice":null,"pitch_shift":-24}', Update(pitch_shift=-24.0)),
        ('{"type":"update","voice":"a","pitch_shift":1.5}', Update("a", 1.5)),
        ('{"type":"update","voice":{"b":2,"a":6}}', Update(Blend((("a", 0.75), ("b", 0.25))))),
        ('{"type":"update","voice":{"a":0.1}}', Update("a")),
    ],
)
def test_standard_control_messages(text: str, event: object) -> None:
    assert STANDARD.parse(text) == event


def test_marker_id_may_have_64_characters() -> None:
    assert STANDARD.parse(json.dumps({"type": "marker", "id": "é" * 64})) == Marker("é" * 64)


@pytest.mark.parametrize(
    "marker", [True, None, 1.5, [], {}, "x" * 65, 2**63, -(2**63) - 1, "\ud800"]
)
def test_wrong_marker_is_refused(marker: Any) -> None:
    event = STANDARD.parse(json.dumps({"type": "marker", "id": marker}))
    assert isinstance(event, Refused)
    assert event.code is WarningCode.UNKNOWN_MESSAGE
    assert "marker id" in event.message


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "voice"),
        ({"voice": None, "pitch_shift": None}, "voice"),
        ({"voice": ""}, "voice"),
        ({"voice": 3}, "voice"),
        ({"voice": {}}, "voice"),
        ({"voice": {"a": 1, "b": 0}}, "voice"),
        ({"voice": {"a": 1, "b": -1}}, "voice"),
        ({"voice": {"a": 1, "b": "1"}}, "voice"),
        ({"voice": {"a": 1, "b": True}}, "voice"),
        ({"voice": {"a": 1, "b": 1e-9}}, "voice"),
        ({"voice": {"a": 1, "b": 1e300}}, "voice"),
        ({"voice": dict.fromkeys("abcde", 1)}, "voice"),
        ({"pitch_shift": 25}, "pitch_shift"),
        ({"pitch_shift": "1"}, "pitch_shift"),
        ({"pitch_shift": True}, "pitch_shift"),
        ({"voice": "alto", "pitch_shift": -24.5}, "pitch_shift"),
    ],
)
def test_wrong_update_is_refused(fields: dict[str, Any], named: str) -> None:
    event = STANDARD.parse(json.dumps({"type": "update", **fields}))
    assert isinstance(event, Refused)
    assert event.code is WarningCode.INVALID_UPDATE
    assert named in event.message
    assert "expected" in event.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "null",
        "{}",
        '{"type":"config"}',
        '{"type":"END"}',
        '{"type":true}',
        '{"type":["end"]}',
        '{"signal":"end"}',
        '{"type":"end","x":NaN}',
        '{"type":"end","type":"end"}',
        "[" * 60_000,
        " " * 100_000,
    ],
)
def test_unknown_text_is_refused(text: str) -> None:
    event = STANDARD.parse(text)
    assert isinstance(event, Refused)
    assert event.code is WarningCode.UNKNOWN_MESSAGE
    assert event.message


def test_second_config_says_what_to_do() -> None:
    event = STANDARD.parse('{"type":"config","voice":"alto"}')
    assert isinstance(event, Refused)
    assert "second config" in event.message


def test_simple_knows_only_end() -> None:
    assert SIMPLE.parse('{"signal":"end"}') == End()
    for text in ('{"signal":"start"}', '{"type":"end"}', '{"type":"marker","id":1}', "x", "[]"):
        event = SIMPLE.parse(text)
        assert isinstance(event, Refused)
        assert event.code is WarningCode.UNKNOWN_MESSAGE


def test_simple_says_nothing_but_completed() -> None:
    assert SIMPLE.ready(READY) is None
    for notice in (
        MarkerReached(1, 0.0, 0.0),
        Updated("alto", 0.0, 0.0),
        Warned(WarningCode.LATE, "late", 0.0),
        GoingAway(1.0),
    ):
        assert SIMPLE.notice(notice) is None
    assert json.loads(SIMPLE.notice(COMPLETE) or "") == {
        "signal": "completed",
        "source_f0_hz": 118.5,
    }


@pytest.mark.parametrize("dialect", [STANDARD, SIMPLE])
def test_a_register_that_was_not_learned_is_null(dialect: Dialect) -> None:
    told = json.loads(dialect.notice(replace(COMPLETE, source_f0_hz=None)) or "")
    assert told.get("stats", told)["source_f0_hz"] is None


def test_simple_tells_errors_in_one_text() -> None:
    assert json.loads(SIMPLE.error(SessionError(ErrorCode.BUSY, "the service is full"), "s")) == {
        "status": "failed",
        "stream_id": "s",
        "error_msg": "the service is full",
    }
    told = json.loads(SIMPLE.error(UNKNOWN_VOICE, None))
    assert told["stream_id"] is None
    assert told["error_msg"] == "there is no voice 'robot': expected one of alto, bass, got robot"
