import json
from collections.abc import Callable
from typing import Any

import pytest

from fast_vc_service.protocol.codes import ErrorCode
from fast_vc_service.protocol.limits import MAX_TEXT_CHARS
from fast_vc_service.protocol.opening import Start
from fast_vc_service.server.websocket.dialects.first_message import (
    FirstMessageError,
    parse_first,
    presented_key,
)
from fast_vc_service.server.websocket.dialects.simple import SIMPLE
from fast_vc_service.server.websocket.dialects.standard import STANDARD


def config(**fields: Any) -> str:
    return json.dumps({"type": "config", **fields})


def simple(**fields: Any) -> str:
    return json.dumps({"signal": "start", **fields})


def refusal(message: str | bytes) -> FirstMessageError:
    with pytest.raises(FirstMessageError) as caught:
        parse_first(message)
    error = caught.value
    assert error.code is ErrorCode.INVALID_CONFIG
    assert error.message
    assert error.expected
    assert error.got
    assert error.hint
    return error


def test_bare_config_takes_every_default() -> None:
    assert parse_first(config()) == (STANDARD, Start())


def test_every_field_of_config_arrives() -> None:
    dialect, start = parse_first(
        config(
            session_id="call 4711 é😀",
            api_key="a-long-secret-of-your-own",
            sample_rate=44_100,
            bit_depth=24,
            channels=1,
            encoding="pcm",
            opus_frame_duration=40,
            sample_rate_out=24_000,
            encoding_out="Opus",
            bitrate_out=24_000,
            voice="alto",
            pitch_shift=-24,
            trim_delay=False,
            realtime=False,
            seed=7,
            record=False,
            source_f0_hz=50,
        )
    )
    assert dialect is STANDARD
    assert start == Start(
        session_id="call 4711 é😀",
        api_key="a-long-secret-of-your-own",
        sample_rate=44_100,
        bit_depth=24,
        encoding="PCM",
        opus_frame_duration=40,
        sample_rate_out=24_000,
        encoding_out="OPUS",
        bitrate_out=24_000,
        voice="alto",
        pitch_shift=-24.0,
        trim_delay=False,
        realtime=False,
        seed=7,
        record=False,
        source_f0_hz=50.0,
    )


def test_every_field_of_simple_start_arrives() -> None:
    dialect, start = parse_first(
        simple(
            stream_id="s",
            sample_rate=48_000,
            sample_bit=16,
            encoding="OPUS",
            opus_frame_duration=60,
            sample_rate_out=22_050,
            voice="alto",
            api_key="k",
            source_f0_hz=1_100.0,
        )
    )
    assert dialect is SIMPLE
    assert start == Start(
        session_id="s",
        sample_rate=48_000,
        encoding="OPUS",
        opus_frame_duration=60,
        sample_rate_out=22_050,
        voice="alto",
        api_key="k",
        source_f0_hz=1_100.0,
    )
    assert parse_first(simple()) == (SIMPLE, Start())


@pytest.mark.parametrize(
    "fields",
    [
        {"signal": "end"},
        {"signal": None},
        {"signal": ["start"]},
        {"signal": "Start"},
    ],
)
def test_only_signal_start_is_the_simple_dialect(fields: dict[str, Any]) -> None:
    assert parse_first(config(**fields))[0] is STANDARD


def test_simple_start_ignores_fields_of_the_standard_dialect() -> None:
    message = simple(type="config", bitrate_out="low", pitch_shift="high", session_id=3)
    assert parse_first(message)[1] == Start()


def test_unknown_fields_are_ignored_whatever_they_hold() -> None:
    text = '{"type":"config","x":{"a":1,"a":2},"y":[[1e999]],"Sample_rate":"no"}'
    assert parse_first(text)[1] == Start()


def test_null_is_absent() -> None:
    names = Start.__dataclass_fields__
    assert parse_first(config(**dict.fromkeys(names)))[1] == Start()


def test_integral_float_is_an_integer() -> None:
    start = parse_first('{"type":"config","sample_rate":16000.0,"seed":1e3,"channels":1.0}')[1]
    assert (start.sample_rate, start.seed) == (16_000, 1000)
    assert isinstance(start.sample_rate, int)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session_id", ""),
        ("session_id", "x" * 129),
        ("session_id", 4711),
        ("session_id", "tab\there"),
        ("session_id", "del\x7f"),
        ("session_id", "c1\x85"),
        ("session_id", "nul\x00"),
        ("sample_rate", "16000"),
        ("sample_rate", True),
        ("sample_rate", 16_000.5),
        ("sample_rate", 7_999),
        ("sample_rate", 48_001),
        ("sample_rate", -16_000),
        ("sample_rate", []),
        ("bit_depth", 8),
        ("bit_depth", "16"),
        ("bit_depth", True),
        ("channels", 2),
        ("channels", 0),
        ("channels", True),
        ("encoding", "MP3"),
        ("encoding", ""),
        ("encoding", 1),
        ("opus_frame_duration", 0),
        ("opus_frame_duration", 121),
        ("opus_frame_duration", "20"),
        ("sample_rate_out", 96_000),
        ("encoding_out", "AAC"),
        ("bitrate_out", 5_999),
        ("bitrate_out", 510_001),
        ("bitrate_out", 32_000.5),
        ("voice", ""),
        ("voice", 1),
        ("voice", "../x\n"),
        ("pitch_shift", 24.01),
        ("pitch_shift", -25),
        ("pitch_shift", False),
        ("pitch_shift", "1"),
        ("pitch_shift", 10**400),
        ("trim_delay", 1),
        ("trim_delay", "true"),
        ("realtime", 0),
        ("record", "false"),
        ("seed", 0.5),
        ("seed", 2**63),
        ("seed", "0"),
        *(("source_f0_hz", value) for value in (49.9, 1100.1, 0, -120, "120", True, [], 10**400)),
    ],
)
def test_wrong_field_is_refused_by_name(field: str, value: object) -> None:
    error = refusal(config(**{field: value}))
    assert field in error.message
    assert error.dialect is STANDARD


@pytest.mark.parametrize("rate", [11_025, 22_050, 44_100, 32_000])
def test_opus_knows_five_rates(rate: int) -> None:
    assert "sample_rate " in refusal(config(encoding="opus", sample_rate=rate)).message + " "
    error = refusal(config(encoding_out="OPUS", sample_rate_out=rate))
    assert error.message == "sample_rate_out is out of range"
    assert error.expected == "8000, 12000, 16000, 24000 or 48000"
    assert parse_first(config(sample_rate=rate, sample_rate_out=rate))[1].sample_rate == rate


@pytest.mark.parametrize("rate", [8_000, 12_000, 16_000, 24_000, 48_000])
def test_opus_rates_pass(rate: int) -> None:
    start = parse_first(
        config(encoding="OPUS", encoding_out="OPUS", sample_rate=rate, sample_rate_out=rate)
    )[1]
    assert (start.sample_rate, start.sample_rate_out) == (rate, rate)


@pytest.mark.parametrize("first", [config, simple])
@pytest.mark.parametrize("law", ["MULAW", "alaw"])
def test_telephone_encodings_have_one_rate_that_need_not_be_told(
    first: Callable[..., str], law: str
) -> None:
    start = parse_first(first(encoding=law, encoding_out=law))[1]
    assert (start.encoding, start.encoding_out) == (law.upper(), law.upper())
    assert (start.sample_rate, start.sample_rate_out) == (8_000, 8_000)
    start = parse_first(first(encoding=law, sample_rate=8_000, sample_rate_out=24_000))[1]
    assert (start.encoding_out, start.sample_rate_out) == ("PCM", 24_000)
    error = refusal(first(encoding=law, sample_rate=16_000))
    assert (error.expected, error.hint) == ("8000", "G.711 knows no other rate")


def test_ranges_include_their_ends() -> None:
    for rate in (8_000, 48_000):
        assert parse_first(config(sample_rate=rate))[1].sample_rate == rate
    for shift in (-24, 24.0):
        assert parse_first(config(pitch_shift=shift))[1].pitch_shift == shift
    for bitrate in (6_000, 510_000):
        assert parse_first(config(bitrate_out=bitrate))[1].bitrate_out == bitrate
    assert parse_first(config(session_id="😀" * 128))[1].session_id == "😀" * 128
    assert parse_first(config(opus_frame_duration=2.5))[1].opus_frame_duration == 2.5


@pytest.mark.parametrize("first", [config, simple])
def test_a_register_is_told_in_both_dialects(first: Callable[..., str]) -> None:
    for told in (50, 118.5, 1_100.0):
        start = parse_first(first(source_f0_hz=told))[1]
        assert start.source_f0_hz == told
        assert isinstance(start.source_f0_hz, float)
    assert parse_first(first())[1].source_f0_hz is None
    error = refusal(first(source_f0_hz=1_200))
    assert error.message == "source_f0_hz is out of range"
    assert error.expected == "a number from 50 to 1100"
    assert error.hint == "leave source_f0_hz out, or send a number from 50 to 1100"
    with pytest.raises(FirstMessageError):
        parse_first(first(source_f0_hz=0).replace("0", "NaN"))


def test_error_reads_as_documented() -> None:
    error = refusal(config(sample_rate=96_000))
    assert (error.message, error.expected, error.got, error.hint) == (
        "sample_rate is out of range",
        "a whole number from 8000 to 48000",
        "96000",
        "resample before sending",
    )


def test_number_in_quotes_is_told_so() -> None:
    error = refusal(config(sample_rate="16000"))
    assert error.got == '"16000"'
    assert "without quotes" in str(error.hint)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "hello",
        "{",
        '{"type":"config"',
        "{'type':'config'}",
        '{"type":"config","pitch_shift":NaN}',
        '{"type":"config","x":Infinity}',
        '{"type":"config","x":-Infinity}',
        '\ufeff{"type":"config"}',
        '{"type":"config"}{"type":"config"}',
        '{"type":"config","session_id":"line\nbreak"}',
        '{"type":"config","x":' + "9" * 5000 + "}",
        '{"type":"config","x":' + "[" * 60_000,
        '{"x":' * 13_000,
        "null",
        "true",
        "1",
        '"config"',
        '["config"]',
        "[]",
    ],
)
def test_text_that_is_no_json_object_is_refused(text: str) -> None:
    error = refusal(text)
    assert error.dialect is STANDARD
    assert "JSON" in error.message


def test_too_long_text_is_refused_unread() -> None:
    fits = config(x="x" * (MAX_TEXT_CHARS - len(config(x=""))))
    assert len(fits) == MAX_TEXT_CHARS
    assert parse_first(fits)[1] == Start()
    assert "too long" in refusal(fits + " ").message


def test_infinite_number_is_out_of_range() -> None:
    assert "pitch_shift" in refusal('{"type":"config","pitch_shift":1e999}').message
    assert "sample_rate" in refusal('{"type":"config","sample_rate":-1e999}').message


def test_key_that_comes_twice_is_refused() -> None:
    error = refusal('{"type":"config","sample_rate":16000,"sample_rate":48000}')
    assert '"sample_rate"' in error.message


def test_unpaired_surrogate_is_refused_and_a_pair_passes() -> None:
    assert "session_id" in refusal('{"type":"config","session_id":"\\ud83d"}').message
    start = parse_first('{"type":"config","session_id":"\\ud83d\\ude00"}')[1]
    assert start.session_id == "😀"


def test_binary_first_is_refused() -> None:
    error = refusal(b"\x00" * 640)
    assert "binary" in error.message
    assert error.got == "640 bytes"


@pytest.mark.parametrize("text", ['{"type":"end"}', '{"signal":"end"}', "{}", '{"type":"Config"}'])
def test_anything_but_config_first_is_refused(text: str) -> None:
    error = refusal(text)
    assert error.expected == 'type "config"'


def test_refusal_in_the_simple_dialect_knows_its_stream() -> None:
    error = refusal(simple(stream_id="s-1", sample_bit=12))
    assert error.dialect is SIMPLE
    assert error.session_id == "s-1"
    assert "sample_bit" in error.message
    assert refusal(simple(stream_id=5)).session_id is None


def test_long_values_are_not_echoed_in_full() -> None:
    assert len(str(refusal(config(voice="v" * 10_000)).got)) < 100
    assert len(str(refusal(config(pitch_shift=10**4000)).got)) < 100


def test_key_is_found_in_a_message_that_is_wrong_otherwise() -> None:
    assert presented_key(config(api_key="secret", sample_rate="no")) == "secret"
    assert presented_key(simple(api_key="secret")) == "secret"
    assert presented_key(config()) is None
    assert presented_key(config(api_key=5)) is None
    assert presented_key("no json") is None
    assert presented_key(b"{}") is None


def test_key_of_another_type_is_no_key_but_no_error() -> None:
    assert parse_first(config(api_key=["x"]))[1].api_key is None
