"""The wire, message by message, against a real service process (spec: WebSocket protocol)."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from service import ROOT, RunningService
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from fast_vc_service.audio.codecs import make_decoder, make_encoder
from fast_vc_service.audio.files import read_audio
from fast_vc_service.contract import FloatArray
from waiting import spend, until

Service = Callable[..., RunningService]


def buzz(samples: int, rate: int = 16000, hz: float = 220.0) -> FloatArray:
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(samples) / rate)).astype(np.float32)


def pcm16(audio: FloatArray) -> bytes:
    return np.round(audio * 32767).astype("<i2").tobytes()


def from_pcm16(data: bytes) -> FloatArray:
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768


def say(ws: ClientConnection, **message: Any) -> None:
    ws.send(json.dumps(message))


def hear(ws: ClientConnection) -> Any:
    """The next message: bytes, or parsed JSON."""
    message = ws.recv(timeout=20)
    return message if isinstance(message, bytes) else json.loads(message)


def rest(ws: ClientConnection) -> tuple[list[bytes], list[dict[str, Any]], int]:
    """Everything until the server closes: binary, text and close code."""
    payloads, texts = [], []
    try:
        while True:
            message = hear(ws)
            (payloads if isinstance(message, bytes) else texts).append(message)
    except ConnectionClosed as closed:
        if closed.rcvd is None:
            raise AssertionError("the server cut the line without a close frame") from closed
        return payloads, texts, closed.rcvd.code


def configure(ws: ClientConnection, **config: Any) -> dict[str, Any]:
    say(ws, type="config", **config)
    ready = hear(ws)
    assert ready["type"] == "ready", ready
    return dict(ready)


def refusal(ws: ClientConnection) -> tuple[dict[str, Any], int]:
    payloads, texts, code = rest(ws)
    assert payloads == []
    assert len(texts) == 1
    return texts[0], code


# ------------------------------------------------------------- standard dialect


def test_the_hello_tells_everything(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        ready = configure(ws, session_id="me/../../and <you>", sample_rate_out=48000)
        assert ready["session_id"] == "me/../../and <you>"
        assert ready["sample_rate_out"] == 48000
        assert (ready["encoding_out"], ready["opus_pre_skip_samples"]) == ("PCM", 0)
        assert (ready["voice"], ready["engine"]) == ("ref-24k", "passthrough")
        assert ready["block_ms"] == 20
        assert 20 <= ready["delay_ms"] <= 24
        assert ready["latency_ms"] == pytest.approx(ready["block_ms"] + ready["delay_ms"])
        assert ready["recording"] is False
        assert set(ready["limits"]) == {
            "max_message_bytes",
            "idle_timeout_s",
            "max_session_s",
            "max_buffered_ms",
        }
        assert ready["message"]
        assert ready["server_version"]


@pytest.mark.parametrize("path", ["/ws", "/"])
def test_audio_comes_back_whole_in_place_and_counted(
    passthrough: RunningService, path: str
) -> None:
    audio = buzz(16_123)
    with passthrough.connect(path) as ws:
        configure(ws, realtime=False)
        for start in range(0, len(audio), 320):
            ws.send(pcm16(audio[start : start + 320]))
        say(ws, type="end")
        payloads, texts, code = rest(ws)
    out = from_pcm16(b"".join(payloads))
    assert len(out) == len(audio)
    assert np.abs(out - audio).max() < 1e-3
    assert code == 1000
    (complete,) = texts
    assert complete["type"] == "complete"
    stats = complete["stats"]
    assert stats["sent_samples"] == len(audio)
    assert stats["received_ms"] == stats["total_processed_ms"] == pytest.approx(16_123 / 16)
    assert stats["chunks_processed"] == -(-(16_123 + 320) // 320)
    assert stats["silenced_ms"] == stats["concealed_ms"] == 0
    assert stats["average_latency_ms"] > 0
    assert stats["latency_p50_ms"] <= stats["latency_p95_ms"] <= stats["latency_p99_ms"]
    assert set(stats["real_time_factor"]) == {
        "mean",
        "median",
        "min",
        "max",
        "std",
        "p95",
        "p99",
    }
    assert isinstance(stats["is_real_time"], bool)


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize("rate", [8000, 15_999, 44_100, 48_000])
def test_any_rate_and_depth_of_pcm(passthrough: RunningService, rate: int, bits: int) -> None:
    audio = buzz(rate // 2 + 7, rate)
    scaled = np.round(audio.astype(np.float64) * (2 ** (bits - 1) - 1)).astype("<i4")
    data = b"".join(int(v).to_bytes(bits // 8, "little", signed=True) for v in scaled)
    with passthrough.connect() as ws:
        configure(ws, sample_rate=rate, bit_depth=bits, sample_rate_out=rate, realtime=False)
        for start in range(0, len(data), 1001):  # samples straddle messages
            ws.send(data[start : start + 1001])
        say(ws, type="end")
        payloads, texts, _ = rest(ws)
    out = from_pcm16(b"".join(payloads))
    assert len(out) == len(audio)
    middle = slice(rate // 20, -rate // 20)
    assert np.abs(out[middle] - audio[middle]).max() < 0.01
    assert [text["type"] for text in texts] == ["complete"]


def test_opus_both_ways(passthrough: RunningService) -> None:
    speech, rate = read_audio(ROOT / "wavs" / "sources" / "male-fast-48k.wav")
    assert rate == 48_000
    speech = speech[: 2 * rate]
    encoder = make_encoder("OPUS", rate)
    packets = [*encoder.encode(speech), *encoder.flush()]
    with passthrough.connect() as ws:
        ready = configure(
            ws,
            encoding="opus",
            sample_rate=rate,
            encoding_out="Opus",
            sample_rate_out=rate,
            bitrate_out=48_000,
            realtime=False,
        )
        for packet in packets:
            ws.send(packet)
        say(ws, type="end")
        payloads, texts, _ = rest(ws)
    decoder = make_decoder("OPUS", rate)
    out = np.concatenate([decoder.decode(packet) for packet in payloads])
    skip, sent = ready["opus_pre_skip_samples"], texts[-1]["stats"]["sent_samples"]
    assert sent == len(packets) * 960
    assert skip + sent <= len(out) < skip + sent + 960
    # Raw packets do not tell the delay of the client's own encoder.
    out = out[skip + encoder.pre_skip_samples :][: len(speech) - 960]
    correlation = {
        lag: np.corrcoef(out[100 + lag : lag - 100], speech[100 : len(out) - 100])[0, 1]
        for lag in range(-96, 97)
    }
    best = max(correlation, key=lambda lag: correlation[lag])
    assert abs(best) <= 24, "half a millisecond"
    assert correlation[best] > 0.6


def test_lost_packets_are_concealed(passthrough: RunningService) -> None:
    encoder = make_encoder("OPUS", 16_000)
    packets = encoder.encode(buzz(8000))
    with passthrough.connect() as ws:
        configure(ws, encoding="OPUS", realtime=False)
        for packet in packets[:10]:
            ws.send(packet)
        ws.send(b"")
        ws.send(b"\xff\xff\xff")
        say(ws, type="end")
        payloads, texts, _ = rest(ws)
    assert texts[0]["type"] == "warning"
    assert texts[0]["code"] == "CORRUPT_AUDIO"
    assert texts[-1]["stats"]["concealed_ms"] == 40
    assert len(b"".join(payloads)) == 12 * 320 * 2


def test_full_scale_input_never_wraps(passthrough: RunningService) -> None:
    square = np.where(np.arange(16_000) // 50 % 2, 32767, -32768).astype("<i2")
    with passthrough.connect() as ws:
        configure(ws, sample_rate_out=48_000, realtime=False)
        ws.send(square.tobytes())
        say(ws, type="end")
        payloads, _, _ = rest(ws)
    out = from_pcm16(b"".join(payloads))
    expected = np.repeat(np.sign(square.astype(np.float32)), 3)
    plateau = np.abs(np.arange(len(expected)) % 150 - 75) < 50
    assert (np.sign(out[plateau]) == expected[plateau]).all()


def test_untrimmed_output_is_longer_by_the_declared_delay(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        ready = configure(ws, trim_delay=False, realtime=False)
        ws.send(pcm16(np.full(3200, 0.5, np.float32)))
        say(ws, type="end")
        payloads, _, _ = rest(ws)
    out = from_pcm16(b"".join(payloads))
    delay = round(ready["delay_ms"] * 16)
    assert len(out) == 3200 + delay
    assert not out[:delay].any()
    assert out[delay + 10] > 0.3


def test_markers_follow_their_audio(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        configure(ws, realtime=False, sample_rate_out=48_000)
        ws.send(pcm16(buzz(1000)))
        say(ws, type="marker", id="a")
        ws.send(pcm16(buzz(3000)))
        say(ws, type="marker", id=7)
        say(ws, type="end")
        carried, seen = 0, {}
        while True:
            message = hear(ws)
            if isinstance(message, bytes):
                carried += len(message) // 2
                continue
            if message["type"] == "complete":
                break
            assert message["type"] == "marker"
            seen[message["id"]] = carried
            assert message["sent_ms"] == pytest.approx(carried / 48)
            assert message["received_ms"] >= 1000 / 16
    assert 3000 < seen["a"] <= 3000 + 2 * 960
    assert seen[7] == 12_000


def test_update_changes_the_voice_and_says_from_where(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        configure(ws, realtime=False)
        ws.send(pcm16(buzz(1000)))
        say(ws, type="update", voice="soprano", pitch_shift=3)
        say(ws, type="update", voice="nobody")
        say(ws, type="update", pitch_shift=99)
        ws.send(pcm16(buzz(3000)))
        say(ws, type="end")
        _, texts, _ = rest(ws)
    by_type = {text["type"]: text for text in texts}
    assert by_type["updated"]["voice"] == "soprano"
    assert by_type["updated"]["pitch_shift"] == 3
    assert by_type["updated"]["from_sent_ms"] == pytest.approx(1280 / 16 - 20)
    assert [text["code"] for text in texts if text["type"] == "warning"] == [
        "UNKNOWN_VOICE",
        "INVALID_UPDATE",
    ]


@pytest.mark.parametrize("text", ["not json", "[]", '{"type":"dance"}', '{"type":"config"}'])
def test_unknown_text_is_a_warning_and_loses_nothing(
    passthrough: RunningService, text: str
) -> None:
    with passthrough.connect() as ws:
        configure(ws, realtime=False)
        ws.send(pcm16(buzz(500)))
        ws.send(text)
        ws.send(pcm16(buzz(500)))
        say(ws, type="end")
        payloads, texts, code = rest(ws)
    assert texts[0]["type"] == "warning"
    assert texts[0]["code"] == "UNKNOWN_MESSAGE"
    assert len(b"".join(payloads)) == 2000
    assert code == 1000


def test_a_partial_sample_is_dropped_with_a_warning(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        configure(ws, realtime=False, bit_depth=24)
        ws.send(b"\0" * (3 * 320 + 2))
        say(ws, type="end")
        payloads, texts, _ = rest(ws)
    assert [text["type"] for text in texts] == ["warning", "complete"]
    assert len(b"".join(payloads)) == 640


def test_end_without_audio_completes_with_zeros(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        configure(ws)
        say(ws, type="end")
        payloads, texts, code = rest(ws)
    assert payloads == []
    assert texts[0]["stats"]["sent_samples"] == texts[0]["stats"]["chunks_processed"] == 0
    assert code == 1000


def test_what_follows_end_is_ignored(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        configure(ws, realtime=False)
        ws.send(pcm16(buzz(1000)))
        say(ws, type="end")
        ws.send(pcm16(buzz(1000)))
        say(ws, type="marker", id=1)
        payloads, texts, _ = rest(ws)
    assert len(b"".join(payloads)) == 2000
    assert [text["type"] for text in texts] == ["complete"]


def test_audio_sent_before_ready_is_kept(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        say(ws, type="config", realtime=False)
        ws.send(pcm16(buzz(1000)))
        say(ws, type="end")
        assert hear(ws)["type"] == "ready"
        payloads, _, _ = rest(ws)
    assert len(b"".join(payloads)) == 2000


def test_a_big_upload_in_big_messages_loses_nothing(passthrough: RunningService) -> None:
    audio = buzz(16_000 * 60)
    with passthrough.connect() as ws:
        configure(ws, realtime=False)
        data = pcm16(audio)
        received = bytearray()
        for start in range(0, len(data), 500_000):
            ws.send(data[start : start + 500_000])
        say(ws, type="end")
        payloads, texts, _ = rest(ws)
        received += b"".join(payloads)
    assert len(received) == len(data)
    assert texts[-1]["stats"]["silenced_ms"] == 0


# ------------------------------------------------------------------ refusals


def standard_error(text: dict[str, Any], code: str) -> dict[str, Any]:
    assert text["type"] == "error"
    assert text["error_code"] == code
    assert text["message"]
    details = text["details"]
    assert isinstance(details, dict)
    return details


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"sample_rate": 7999}, "sample_rate"),
        ({"sample_rate": "16000"}, "sample_rate"),
        ({"sample_rate": 44_100, "encoding": "OPUS"}, "sample_rate"),
        ({"bit_depth": 8}, "bit_depth"),
        ({"channels": 2}, "channels"),
        ({"encoding": "MP3"}, "encoding"),
        ({"pitch_shift": 25}, "pitch_shift"),
        ({"session_id": ""}, "session_id"),
        ({"session_id": "a\nb"}, "session_id"),
        ({"trim_delay": 1}, "trim_delay"),
    ],
)
def test_a_wrong_config_says_which_field(
    passthrough: RunningService, config: dict[str, Any], field: str
) -> None:
    with passthrough.connect() as ws:
        say(ws, type="config", **config)
        text, code = refusal(ws)
    details = standard_error(text, "INVALID_CONFIG")
    assert code == 4400
    assert field in text["message"] + str(details)
    assert details["expected"]


@pytest.mark.parametrize("first", [b"\0\0", "no json", "{}", '{"type":"end"}', "[1,2]"])
def test_a_wrong_first_message(passthrough: RunningService, first: str | bytes) -> None:
    with passthrough.connect() as ws:
        ws.send(first)
        text, code = refusal(ws)
    standard_error(text, "INVALID_CONFIG")
    assert code == 4400


def test_unknown_voice_lists_the_known_ones(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        say(ws, type="config", voice="../../etc/passwd")
        text, code = refusal(ws)
    details = standard_error(text, "UNKNOWN_VOICE")
    assert {"ref-24k", "soprano"} <= set(details["available"])
    assert code == 4404


def test_the_error_survives_audio_that_is_still_being_sent(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        say(ws, type="config", voice="nobody")
        for _ in range(50):
            try:
                ws.send(b"\0" * 64_000)
            except ConnectionClosed:
                break
        text, code = refusal(ws)
    standard_error(text, "UNKNOWN_VOICE")
    assert code == 4404


def test_a_message_too_large(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        configure(ws)
        ws.send(b"\0" * ((1 << 20) + 2))
        _, texts, code = rest(ws)
    standard_error(texts[-1], "INVALID_AUDIO")
    assert code == 4415


def test_a_second_of_packets_that_are_none(passthrough: RunningService) -> None:
    packet = make_encoder("OPUS", 16_000).encode(buzz(640))[0]
    with passthrough.connect() as ws:
        configure(ws, encoding="OPUS", realtime=False)
        ws.send(packet)
        for _ in range(60):
            ws.send(b"\xff\xff\xff")
        _, texts, code = rest(ws)
    standard_error(texts[-1], "INVALID_AUDIO")
    assert code == 4415


def live_sessions(service: RunningService) -> int:
    return int(service.get("/health")[1]["sessions"]["live"])


def test_a_vanished_client_frees_its_slot_at_once(passthrough: RunningService) -> None:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(passthrough.connect()) for _ in range(3)]
        for ws in sockets:
            configure(ws)
        assert live_sessions(passthrough) == 3
        for ws in sockets:
            ws.socket.shutdown(socket.SHUT_RDWR)
        until(lambda: live_sessions(passthrough) == 0)


def test_busy_when_full(passthrough: RunningService) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            configure(stack.enter_context(passthrough.connect()))
        with passthrough.connect() as ws:
            say(ws, type="config")
            text, code = refusal(ws)
        details = standard_error(text, "BUSY")
        assert code == 4429
        assert details["retry_after_s"] > 0
        with passthrough.connect() as ws:
            say(ws, signal="start", stream_id="s")
            text, code = refusal(ws)
        assert text["status"] == "failed"
        assert code == 4429


# -------------------------------------------------------------- simple dialect


def test_the_simple_dialect(passthrough: RunningService) -> None:
    audio = buzz(24_000, 24_000)
    with passthrough.connect() as ws:
        say(ws, signal="start", stream_id="s1", sample_rate=24_000, sample_bit=16)
        ws.send(pcm16(audio))
        ws.send("what?")
        say(ws, signal="end")
        payloads, texts, code = rest(ws)
    assert texts == [{"signal": "completed", "source_f0_hz": None}]
    assert code == 1000
    assert len(b"".join(payloads)) == 2 * 16_000


def test_the_simple_dialect_fails_in_its_own_words(passthrough: RunningService) -> None:
    with passthrough.connect() as ws:
        say(ws, signal="start", stream_id="s1", sample_rate=1)
        text, code = refusal(ws)
    assert text["status"] == "failed"
    assert text["stream_id"] == "s1"
    assert "sample_rate" in text["error_msg"]
    assert code == 4400


# ------------------------------------------------- limits, keys, origins, drain


def test_time_limits(launch_service: Service) -> None:
    service = launch_service(handshake_timeout_s=0.5, idle_timeout_s=1.0, max_session_s=2.5)
    service.wait_until("ready")
    with service.connect() as ws:
        text, code = refusal(ws)
    standard_error(text, "TIMEOUT")
    assert code == 4408
    with service.connect() as ws:
        configure(ws)
        _, texts, code = rest(ws)
    standard_error(texts[-1], "TIMEOUT")
    assert code == 4408
    with service.connect() as ws:
        configure(ws)
        started = time.monotonic()
        # Not much longer than the session may last: a client that does not read is cut off.
        while time.monotonic() - started < 5:
            try:
                ws.send(b"\0" * 640)
            except ConnectionClosed:
                break
            spend(0.02)
        _, texts, code = rest(ws)
    standard_error(texts[-1], "SESSION_LIMIT")
    assert code == 4410


def test_a_client_that_does_not_read_is_let_go(launch_service: Service) -> None:
    service = launch_service(slow_reader_s=1.0)
    service.wait_until("ready")
    raw = socket.create_connection(("127.0.0.1", service.port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.sendall(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )

    def frame(opcode: int, data: bytes) -> bytes:
        return bytes([0x80 | opcode, 0xFF]) + len(data).to_bytes(8, "big") + b"\0" * 4 + data

    raw.sendall(frame(1, b'{"type":"config","realtime":false,"sample_rate_out":48000}'))
    raw.settimeout(0.2)
    deadline = time.monotonic() + 30
    freed = False
    while time.monotonic() < deadline:
        try:
            raw.sendall(frame(2, b"\0" * 64_000))
        except (TimeoutError, OSError):
            status = service.get("/metrics")[1]
            if "SLOW_READER" in status:
                freed = True
                break
    assert freed, service.output()
    until(lambda: live_sessions(service) == 0, "freed while the client still holds the line")
    raw.close()


KEYS = json.dumps(
    [
        {"name": "one", "key": "first-secret-key", "max_sessions": 1},
        {
            "name": "two",
            # printf second-secret-key | sha256sum
            "key": "sha256:4a66c71f190a64b6f7483dacaa48bfa08456168ffc4dd2fdbffc71836ad7b275",
        },
    ]
)


def test_keys(launch_service: Service) -> None:
    service = launch_service(api_keys=KEYS, auth_failure_delay_ms=50)
    service.wait_until("ready")
    for key in (None, "wrong-key", "first-secret-ke"):
        with service.connect() as ws:
            say(ws, type="config", api_key=key, sample_rate=1)
            text, code = refusal(ws)
        standard_error(text, "AUTH_FAILED")
        assert code == 4401
    with service.connect() as ws:
        say(ws, signal="start", stream_id="s")
        text, code = refusal(ws)
    assert text["status"] == "failed"
    assert code == 4401
    with service.connect() as ws:
        configure(ws, api_key="first-secret-key")
        with service.connect() as second:
            say(second, type="config", api_key="first-secret-key")
            text, code = refusal(second)
        standard_error(text, "BUSY")
    headers = {"Authorization": "Bearer second-secret-key"}
    with service.connect(additional_headers=headers) as ws:
        configure(ws)
    assert service.get("/health")[0] == service.get("/version")[0] == 200
    assert service.get("/metrics")[0] == 401
    assert service.get("/tools/performance-report")[0] == 401
    assert service.get("/metrics", **headers)[0] == 200
    assert "first-secret-key" not in service.output()


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Origin": "http://127.0.0.1:{port}"}, True),
        ({"Origin": "https://evil.example"}, False),
        ({"Host": "rebound.example"}, False),
        ({"Host": "localhost"}, True),
    ],
)
def test_a_web_page_cannot_reach_a_local_service(
    passthrough: RunningService, headers: dict[str, str], allowed: bool
) -> None:
    filled = {key: value.format(port=passthrough.port) for key, value in headers.items()}
    request = [
        "GET /ws HTTP/1.1",
        f"Host: {filled.pop('Host', f'127.0.0.1:{passthrough.port}')}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *(f"{key}: {value}" for key, value in filled.items()),
    ]
    with socket.create_connection(("127.0.0.1", passthrough.port), timeout=10) as raw:
        raw.sendall("\r\n".join([*request, "", ""]).encode())
        answer = raw.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 101" if allowed else "HTTP/1.1 403"), answer


def test_too_many_connections_are_told_to_come_back(launch_service: Service) -> None:
    service = launch_service(max_connections=2)
    service.wait_until("ready")
    with service.connect() as one:
        # Who has no session yet would have to make room.
        configure(one)
        with service.connect() as two:
            configure(two)
            with pytest.raises(InvalidStatus) as refused, service.connect():
                pass
            assert refused.value.response.status_code == 503
            assert int(refused.value.response.headers["Retry-After"]) > 0
            one.ping()
            two.ping()


def test_sessions_are_recorded_only_when_asked(launch_service: Service) -> None:
    service = launch_service(record="true")
    service.wait_until("ready")
    outputs = service.home / "outputs"
    with service.connect() as ws:
        assert configure(ws, record=False)["recording"] is False
        ws.send(pcm16(buzz(16_000)))
        say(ws, type="end")
        rest(ws)
    assert not list(outputs.rglob("*.wav"))
    with service.connect() as ws:
        assert configure(ws, session_id="../../evil", realtime=False)["recording"] is True
        ws.send(pcm16(buzz(16_000)))
        say(ws, type="end")
        rest(ws)
    until(lambda: list(outputs.rglob("*_timeline.json")))
    files = sorted(path.name.rpartition("_")[2] for path in outputs.rglob("*") if path.is_file())
    assert files == ["input.wav", "output.wav", "timeline.json"]
    for path in outputs.rglob("*_*.*"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.resolve().is_relative_to(outputs.resolve())
