import json
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fast_vc_service.protocol.messages import End, Marker, Update
from fast_vc_service.protocol.opening import Start
from fast_vc_service.server.websocket.dialects.dialect import Dialect, Refused
from fast_vc_service.server.websocket.dialects.first_message import (
    FirstMessageError,
    parse_first,
    presented_key,
)
from fast_vc_service.server.websocket.dialects.simple import SIMPLE
from fast_vc_service.server.websocket.dialects.standard import STANDARD

ANY_TEXT = st.text(st.characters(exclude_categories=()))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["type", "signal", "id", "stream_id", "sample_bit", "channels", *Start.__dataclass_fields__]
)
WORDS = st.sampled_from(
    ["config", "start", "end", "marker", "update", "PCM", "opus", 16_000, 16_000.0, "16000", 20, -1]
)
MESSAGES = (
    st.dictionaries(NAMES | ANY_TEXT, WORDS | VALUES).map(json.dumps)
    | st.dictionaries(NAMES, WORDS | VALUES).map(lambda d: json.dumps({"type": "config", **d}))
    | st.dictionaries(NAMES, WORDS | VALUES).map(lambda d: json.dumps({"signal": "start", **d}))
    | VALUES.map(json.dumps)
    | ANY_TEXT
)


def first(message: str | bytes) -> tuple[Dialect, Start] | FirstMessageError:
    try:
        return parse_first(message)
    except FirstMessageError as error:
        return error


@given(MESSAGES | st.binary())
def test_first_message_is_read_or_refused(message: str | bytes) -> None:
    read = first(message)
    if isinstance(read, FirstMessageError):
        assert read.dialect.error(read, read.session_id).isascii()
        assert read.expected
        assert read.got
        assert read.hint
    else:
        dialect, start = read
        assert dialect in {STANDARD, SIMPLE}
        assert 8_000 <= start.sample_rate <= 48_000
        assert 8_000 <= start.sample_rate_out <= 48_000
        assert -24 <= start.pitch_shift <= 24
        assert start.bit_depth in {16, 24, 32}
        assert start.session_id is None or start.session_id.encode()
    key = presented_key(message)
    assert key is None or isinstance(key, str)


@given(MESSAGES)
def test_later_text_is_an_event_whatever_it_is(text: str) -> None:
    for dialect in (STANDARD, SIMPLE):
        event = dialect.parse(text)
        assert isinstance(event, Marker | Update | End | Refused)
        if isinstance(event, Refused):
            assert event.message
            assert len(event.message) < 1000


@given(
    st.sampled_from(
        [
            "[",
            "{",
            '{"a":',
            '"',
            "\\u0000",
            "9",
            "1,",
            '{"a":1},',
            '"a":0,',
            " ",
            "-",
            "1e9",
            "\ud800",
        ]
    ),
    st.sampled_from([1, 1000, 65_536, 4_000_000]),
)
def test_no_text_takes_long(piece: str, length: int) -> None:
    text = (piece * (length // len(piece) + 1))[:length]
    for whole in (text, f'{{"type":"config","x":{text}}}', f'{{"type":"marker","id":{text}}}'):
        started = time.process_time()
        STANDARD.parse(whole)
        presented_key(whole)
        assert time.process_time() - started < 0.5
