"""What clients say, word for word, in the recorded conversations."""

from __future__ import annotations

from typing import Any

from tests.compatibility.scripts import HEAR, Raw, Script, packets, pieces, speech

END = {"type": "end"}
UPLOAD = {"type": "config", "realtime": False}
SIMPLE_END = {"signal": "end"}
NANO_VOICES = ("ref-24k", "baritone")


def for_open_service() -> dict[str, Script]:
    """Return what is said to a service without keys that gives the input back."""
    return {**_audio(), **_control(), **_refusals(), **_simple()}


def _audio() -> dict[str, Script]:
    opus = packets()
    one_second = speech(1.0, 16_000)
    return {
        "pcm": Script(
            [
                {"type": "config", "session_id": "call 4711/ä", "realtime": False},
                HEAR,
                *pieces(one_second, 640),
                END,
            ]
        ),
        "pcm-on-the-other-address": Script([UPLOAD, HEAR, one_second, END], path="/"),
        "pcm-of-24-bits-at-44100-to-48000": Script(
            [
                {**UPLOAD, "sample_rate": 44_100, "bit_depth": 24, "sample_rate_out": 48_000},
                HEAR,
                *pieces(speech(0.5, 44_100, 24), 1001),
                END,
            ]
        ),
        "pcm-of-32-bits-at-8000": Script(
            [
                {**UPLOAD, "sample_rate": 8000, "bit_depth": 32, "encoding": "pcm"},
                HEAR,
                *pieces(speech(0.5, 8000, 32), 4096),
                END,
            ]
        ),
        "pcm-with-every-field": Script(
            [
                {
                    "type": "config",
                    "session_id": "all fields",
                    "api_key": None,
                    "sample_rate": 24_000,
                    "bit_depth": 16,
                    "channels": 1,
                    "encoding": "PCM",
                    "opus_frame_duration": 60,
                    "sample_rate_out": 22_050,
                    "encoding_out": "PCM",
                    "bitrate_out": 16_000,
                    "voice": "soprano",
                    "pitch_shift": -3.5,
                    "trim_delay": False,
                    "realtime": False,
                    "seed": 42,
                    "record": False,
                    "unknown to all": 1,
                },
                HEAR,
                *pieces(speech(0.5, 24_000), 960),
                END,
            ]
        ),
        "pcm-live": Script([{"type": "config"}, HEAR, *pieces(one_second[:9600], 640), END]),
        "opus-in": Script([{**UPLOAD, "encoding": "OPUS"}, HEAR, *opus, END]),
        "opus-in-with-losses": Script(
            [
                {**UPLOAD, "encoding": "opus"},
                HEAR,
                *opus[:10],
                b"",
                b"\xff\xff\xff",
                HEAR,
                *opus[10:20],
                *([b""] * 7),
                END,
            ]
        ),
        "opus-out": Script(
            [
                {**UPLOAD, "encoding_out": "Opus", "sample_rate_out": 48_000},
                HEAR,
                *pieces(one_second, 640),
                END,
            ],
            opus_hz=48_000,
        ),
        "opus-both-ways": Script(
            [
                {
                    **UPLOAD,
                    "sample_rate": 48_000,
                    "encoding": "OPUS",
                    "sample_rate_out": 24_000,
                    "encoding_out": "OPUS",
                    "bitrate_out": 24_000,
                },
                HEAR,
                *opus,
                END,
            ],
            opus_hz=24_000,
        ),
        "audio-before-ready-and-after-end": Script([UPLOAD, one_second, END, one_second, END]),
        "end-without-audio": Script([{"type": "config"}, HEAR, END]),
        "half-a-sample": Script([{**UPLOAD, "bit_depth": 24}, HEAR, b"\0" * 962, END]),
    }


def _control() -> dict[str, Script]:
    piece = speech(0.1, 16_000)
    unknown: list[Any] = [
        Raw("not json"),
        Raw("[]"),
        Raw('{"type":"end","type":"end"}'),
        Raw('{"type":"marker","id":NaN}'),
        {"type": "dance"},
        {"type": "config"},
        {"type": "marker"},
        {"type": "marker", "id": "x" * 65},
        {"type": "marker", "id": 2**63},
    ]
    updates = [
        {"type": "update"},
        {"type": "update", "voice": "nobody"},
        {"type": "update", "pitch_shift": 25},
        {"type": "update", "pitch_shift": "1"},
        {"type": "update", "voice": {"alto": 0}},
        {"type": "update", "voice": {"alto": 1, "nobody": 1}},
    ]
    return {
        "markers": Script(
            [
                {**UPLOAD, "sample_rate_out": 48000},
                HEAR,
                piece[:2000],
                {"type": "marker", "id": "a"},
                piece,
                {"type": "marker", "id": 7},
                piece,
                END,
            ]
        ),
        "markers-with-delay": Script(
            [
                {**UPLOAD, "trim_delay": False},
                HEAR,
                {"type": "marker", "id": -(2**63)},
                piece,
                {"type": "marker", "id": ""},
                piece,
                END,
            ]
        ),
        "too-many-markers": Script(
            [UPLOAD, HEAR, *({"type": "marker", "id": number} for number in range(66)), HEAR, END]
        ),
        "updates": Script(
            [
                UPLOAD,
                HEAR,
                piece,
                {"type": "update", "voice": "soprano", "pitch_shift": 3},
                piece,
                HEAR,
                {"type": "update", "voice": {"alto": 3, "bass": 1}},
                piece,
                HEAR,
                {"type": "update", "pitch_shift": None, "voice": "alto"},
                piece,
                HEAR,
                END,
            ]
        ),
        "a-blend": Script([{**UPLOAD, "voice": {"alto": 2, "bass": 1}}, HEAR, piece, END]),
        **{
            f"unknown-message-{number}": Script([UPLOAD, HEAR, piece, message, HEAR, piece, END])
            for number, message in enumerate(unknown, 1)
        },
        **{
            f"refused-update-{number}": Script([UPLOAD, HEAR, piece, update, HEAR, piece, END])
            for number, update in enumerate(updates, 1)
        },
    }


def _refusals() -> dict[str, Script]:
    configs: list[dict[str, Any]] = [
        {"sample_rate": 7999},
        {"sample_rate": 48_001},
        {"sample_rate": "16000"},
        {"sample_rate": 16_000.5},
        {"sample_rate": 44_100, "encoding": "OPUS"},
        {"sample_rate_out": 44_100, "encoding_out": "OPUS"},
        {"bit_depth": 8},
        {"channels": 2},
        {"encoding": "MP3"},
        {"encoding_out": 1},
        {"opus_frame_duration": 121},
        {"bitrate_out": 5999},
        {"pitch_shift": 24.5},
        {"trim_delay": 1},
        {"realtime": "false"},
        {"record": 0},
        {"seed": 1.5},
        {"session_id": ""},
        {"session_id": "a\nb"},
        {"session_id": "x" * 129},
        {"voice": ""},
        {"voice": {}},
        {"voice": {"alto": 1, "bass": 1, "tenor": 1, "warm": 1, "bright": 1}},
        {"voice": {"alto": -1}},
    ]
    first = [b"\0\0", Raw("no json"), {}, END, Raw("[1, 2]"), {"type": "Config"}, Raw("")]
    return {
        **{
            f"wrong-config-{number}": Script([{"type": "config", **config}])
            for number, config in enumerate(configs, 1)
        },
        **{f"wrong-first-message-{n}": Script([message]) for n, message in enumerate(first, 1)},
        "unknown-voice": Script([{"type": "config", "voice": "../../etc/passwd"}]),
        "unknown-voice-in-a-blend": Script([{"type": "config", "voice": {"alto": 1, "no": 1}}]),
        "a-message-too-large": Script([UPLOAD, HEAR, b"\0" * ((1 << 20) + 2)]),
        "a-second-of-broken-packets": Script(
            [{**UPLOAD, "encoding": "OPUS"}, HEAR, packets()[0], *[b"\xff\xff\xff"] * 60],
            audio_is_certain=False,
        ),
    }


def _simple() -> dict[str, Script]:
    start = {"signal": "start", "stream_id": "s-1"}
    return {
        "simple": Script(
            [
                {**start, "sample_rate": 16000, "sample_bit": 16},
                *pieces(speech(1.0, 16000), 640),
                Raw("what?"),
                {"signal": "no"},
                SIMPLE_END,
            ]
        ),
        "simple-with-little": Script([{"signal": "start"}, speech(0.2, 16_000), SIMPLE_END]),
        "simple-with-every-field": Script(
            [
                {
                    **start,
                    "sample_rate": 24_000,
                    "sample_bit": 24,
                    "encoding": "PCM",
                    "opus_frame_duration": 20,
                    "sample_rate_out": 8000,
                    "voice": "alto",
                    "api_key": "whatever",
                },
                *pieces(speech(0.5, 24_000, 24), 1000),
                SIMPLE_END,
            ],
            path="/",
        ),
        "simple-opus": Script(
            [{**start, "encoding": "OPUS", "sample_rate_out": 24_000}, *packets(), SIMPLE_END]
        ),
        "simple-blend": Script(
            [{**start, "voice": {"alto": 1, "bass": 1}}, speech(0.2, 16_000), SIMPLE_END]
        ),
        "simple-without-audio": Script([start, SIMPLE_END]),
        "simple-wrong-rate": Script([{**start, "sample_rate": 1}]),
        "simple-wrong-bits": Script([{**start, "sample_bit": 8}]),
        "simple-wrong-id": Script([{"signal": "start", "stream_id": 5}]),
        "simple-unknown-voice": Script([{**start, "voice": "nobody"}]),
        "simple-message-too-large": Script([start, b"\0" * ((1 << 20) + 2)]),
    }


def for_strict_service() -> dict[str, Script]:
    """Return what is said to a service with keys and short limits."""
    config = {"type": "config", "api_key": "alice's own key"}
    bearer = ("Authorization", "Bearer the key of bob")
    return {
        "key": Script([{**config, "realtime": False}, HEAR, speech(0.1, 16_000), END]),
        "key-in-the-header": Script([UPLOAD, HEAR, END], headers=(bearer,)),
        "no-key": Script([{"type": "config", "sample_rate": 1}]),
        "wrong-key": Script([{**config, "api_key": "alice's own keys"}]),
        "wrong-kind-of-key": Script([{**config, "api_key": 1}]),
        "simple-key": Script(
            [{"signal": "start", "api_key": "alice's own key"}, speech(0.1, 16_000), SIMPLE_END]
        ),
        "simple-no-key": Script([{"signal": "start", "stream_id": "s-1"}]),
        "no-first-message": Script([]),
        "no-message-for-long": Script([config, HEAR]),
        "simple-no-message-for-long": Script([{"signal": "start", "api_key": "alice's own key"}]),
    }


def for_nano() -> dict[str, Script]:
    """Return what is said to the engine that converts by default."""
    audio = pieces(speech(3.0, 16_000), 6400)
    return {
        "nano-pcm": Script(
            [
                {**UPLOAD, "seed": 7, "pitch_shift": 2},
                HEAR,
                *audio[:8],
                {"type": "marker", "id": 1},
                {"type": "update", "voice": "baritone"},
                *audio[8:],
                END,
            ]
        ),
        "nano-blend-to-opus": Script(
            [
                {
                    **UPLOAD,
                    "voice": {"ref-24k": 1, "baritone": 1},
                    "sample_rate_out": 48_000,
                    "encoding_out": "OPUS",
                    "trim_delay": False,
                },
                HEAR,
                *audio,
                END,
            ],
            opus_hz=48_000,
        ),
        "nano-simple-opus": Script(
            [
                {"signal": "start", "stream_id": "s-1", "encoding": "OPUS", "voice": "baritone"},
                *packets(),
                SIMPLE_END,
            ]
        ),
    }
