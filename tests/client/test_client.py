"""The client against a server that behaves, refuses, breaks off or says nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import fake_server
import numpy as np
import pytest
from fake_server import FakeServer
from websockets.asyncio.server import ServerConnection

from fast_vc_service.audio.codecs import make_decoder, make_encoder, opus_available
from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.client import (
    GoingAway,
    MarkerReached,
    SyncVoiceClient,
    Timeline,
    Updated,
    VoiceClient,
    VoiceServiceError,
    Warned,
)
from fast_vc_service.client.errors import CODE_OF_CLOSE
from fast_vc_service.contract import FloatArray
from fast_vc_service.protocol.codes import ErrorCode
from waiting import spend_async

SPEECH = Path(__file__).parents[2] / "wavs/sources/low-pitched-male-24k.wav"

needs_opus = pytest.mark.skipif(not opus_available(), reason="libopus is not installed")


def tone(seconds: float, rate: int = 16_000) -> FloatArray:
    t = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * 220 * t)).astype(np.float32)


def speech(seconds: float, rate: int) -> FloatArray:
    audio, source_rate = read_audio(SPEECH)
    return resample(audio, source_rate, rate)[: round(seconds * rate)]


def lag(output: FloatArray, audio: FloatArray, most: int = 400) -> int:
    """Return by how many samples ``output`` trails ``audio``."""
    middle = audio[most:-most]
    scores = [np.dot(output[k : k + len(middle)], middle) for k in range(2 * most + 1)]
    return int(np.argmax(scores)) - most


def with_server(
    server: FakeServer, body: Callable[[FakeServer], Awaitable[None]], timeout_s: float = 10.0
) -> None:
    async def run() -> None:
        async with asyncio.timeout(timeout_s), server.run():
            await body(server)

    asyncio.run(run())


async def talk(client: VoiceClient, audio: FloatArray, step: int = 320) -> FloatArray:
    async def speak() -> None:
        for start in range(0, len(audio), step):
            await client.send(audio[start : start + step])
        await client.end()

    speaking = asyncio.create_task(speak())
    try:
        pieces = [samples async for samples in client]
        await speaking
    finally:
        await asyncio.wait({speaking})
        speaking.exception()
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


async def send_for_ever(client: VoiceClient) -> None:
    while True:
        await client.send(tone(0.1))
        await spend_async(0.01)


def failure_of(server: FakeServer, **arguments: Any) -> VoiceServiceError:
    caught: list[VoiceServiceError] = []

    async def body(server: FakeServer) -> None:
        try:
            async with VoiceClient(server.url, **arguments) as client:
                await talk(client, tone(0.5))
        except VoiceServiceError as error:
            caught.append(error)

    with_server(server, body)
    assert caught, "the session did not fail"
    return caught[0]


@pytest.mark.parametrize("dialect", ["standard", "simple"])
def test_audio_comes_back_whole_and_in_order(dialect: Any) -> None:
    audio = tone(0.5)

    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url, dialect=dialect) as client:
            output = await talk(client, audio)
        np.testing.assert_allclose(output, audio, atol=2 / 32768)
        assert client.stats is not None

    with_server(FakeServer(delay_s=0.02), body)


@pytest.mark.parametrize("dialect", ["standard", "simple"])
def test_a_register_is_sent_and_the_learned_one_comes_back(dialect: Any) -> None:
    def learned_without_async(url: str) -> float | None:
        with SyncVoiceClient(url, dialect=dialect) as client:
            client.end()
            assert list(client) == []
            return client.source_f0_hz

    async def body(server: FakeServer) -> None:
        client = VoiceClient(server.url, dialect=dialect, source_f0_hz=120.0)
        async with client:
            assert client.source_f0_hz is None
            await talk(client, tone(0.02))
        assert client.source_f0_hz == 118.5
        assert await asyncio.to_thread(learned_without_async, server.url) == 118.5

    server = FakeServer(source_f0_hz=118.5)
    with_server(server, body)
    assert server.hellos[0]["source_f0_hz"] == 120.0
    assert "source_f0_hz" not in server.hellos[1]


@pytest.mark.parametrize("dialect", ["standard", "simple"])
def test_an_older_server_tells_no_register(dialect: Any) -> None:
    async def behaviour(server: FakeServer, connection: Any, hello: dict[str, Any]) -> None:
        if dialect == "standard":
            await fake_server.say_ready(server, connection, hello)
            await fake_server.say(connection, type="complete", stats={})
        else:
            await fake_server.say(connection, signal="completed")
        await connection.close(1000)

    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url, dialect=dialect) as client:
            assert [samples async for samples in client] == []
        assert client.source_f0_hz is None

    with_server(FakeServer(behaviour=behaviour), body)


def test_first_message_says_what_was_asked_for_and_nothing_else() -> None:
    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url, session_id="a", voice="alto", seed=3) as client:
            await talk(client, tone(0.02))
            assert client.ready is not None
            assert client.ready.voice == "alto"
        assert server.hellos == [{"type": "config", "session_id": "a", "voice": "alto", "seed": 3}]

    with_server(FakeServer(), body)


def test_simple_dialect_uses_its_own_names() -> None:
    async def body(server: FakeServer) -> None:
        async with VoiceClient(
            server.url, dialect="simple", session_id="s", sample_rate=8000, api_key="k"
        ) as client:
            await talk(client, tone(0.02))
            assert client.ready is None
        assert server.hellos == [
            {
                "signal": "start",
                "stream_id": "s",
                "sample_bit": 16,
                "sample_rate": 8000,
                "api_key": "k",
            }
        ]
        assert server.texts == [{"signal": "end"}]

    with_server(FakeServer(), body)


def test_simple_dialect_refuses_what_it_cannot_say() -> None:
    with pytest.raises(ValueError, match=r"seed.*standard"):
        VoiceClient(dialect="simple", seed=1)


def test_unknown_option_is_refused_here() -> None:
    with pytest.raises(TypeError, match="voices"):
        VoiceClient(voices="alto")  # type: ignore[call-arg]


def test_it_reads_while_nobody_iterates() -> None:
    """A server that stops reading until its output is taken must not block the client for good."""

    async def body(server: FakeServer) -> None:
        audio = np.zeros(16_000 * 400, np.float32)
        async with VoiceClient(server.url) as client:
            for start in range(0, len(audio), 160_000):
                await client.send(audio[start : start + 160_000])
            await client.end()
            assert sum([len(samples) async for samples in client]) == len(audio)

    with_server(FakeServer(), body, timeout_s=30)


def test_markers_and_updates_are_told() -> None:
    told: list[object] = []

    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url, on_notice=told.append) as client:
            await client.send(tone(0.1))
            await client.marker("here")
            await client.update(voice="tenor")
            await client.end()
            async for _samples in client:
                pass
        assert server.texts[1] == {"type": "update", "voice": "tenor"}

    with_server(FakeServer(), body)
    assert MarkerReached("here", 1.0, 1.0) in told
    assert Updated("tenor", 0.0, 1.0) in told


def test_simple_dialect_has_no_markers() -> None:
    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url, dialect="simple") as client:
            with pytest.raises(ValueError, match="marker"):
                await client.marker(1)

    with_server(FakeServer(), body)


async def hold_back(
    server: FakeServer, connection: ServerConnection, hello: dict[str, Any]
) -> None:
    """Send back whole blocks of 200 ms and look 60 ms ahead, as real engines do."""
    block, look_ahead = 3200, 960
    await fake_server.say_ready(server, connection, hello, block_ms=200.0, latency_ms=260.0)
    decoder = make_decoder(hello.get("encoding", "PCM"), 16_000)
    heard, done = np.zeros(0, np.float32), 0
    async for message in connection:
        if isinstance(message, str):
            break
        heard = np.concatenate([heard, decoder.decode(message)])
        if (ready := len(heard) // block * block - look_ahead) > done:
            await connection.send((heard[done:ready] * 32767).astype("<i2").tobytes())
            done = ready
    await connection.send((heard[done:] * 32767).astype("<i2").tobytes())
    await fake_server.say(connection, type="complete", stats={})
    await connection.close(1000)


@pytest.mark.parametrize("said", [1, 2239, 2240, 2241, 16_000])
def test_after_a_flush_all_that_was_said_comes_and_the_session_goes_on(said: int) -> None:
    words = tone(2.0)[1 : said + 1]

    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url) as client:
            heard = np.zeros(0, np.float32)
            hearing = aiter(client)
            await client.send(words)
            await client.flush()
            while len(heard) < said:
                heard = np.concatenate([heard, await anext(hearing)])
            await client.send(words)
            await client.end()
            async for samples in hearing:
                heard = np.concatenate([heard, samples])
            silence = np.zeros(len(heard) - 2 * said, np.float32)
            assert len(silence) == 4160
            whole = np.concatenate([words, silence, words])
            np.testing.assert_allclose(heard, whole, atol=2 / 32768)

    with_server(FakeServer(behaviour=hold_back), body)


@needs_opus
@pytest.mark.parametrize("said", [1, 2240, 5000])
def test_a_flush_fills_the_packet_and_passes_the_delay_of_opus(said: int) -> None:
    words = speech(1.0, 16_000)[:said]

    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url, encoding="OPUS", bitrate=64_000) as client:
            heard = 0
            hearing = aiter(client)
            await client.send(words)
            await client.flush()
            while heard < said:
                heard += len(await anext(hearing))
            await client.end()
            heard += sum([len(samples) async for samples in hearing])
            assert heard >= said + 4160, "the silence is input like any other"

    with_server(FakeServer(behaviour=hold_back), body)


def test_a_flush_needs_to_know_the_latency() -> None:
    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url, dialect="simple") as client:
            with pytest.raises(ValueError, match="flush"):
                await client.flush()

    with_server(FakeServer(), body)

    async def ready_without(server: FakeServer, connection: Any, hello: dict[str, Any]) -> None:
        await fake_server.say_ready(server, connection, hello, latency_ms=None)
        await connection.wait_closed()

    async def older(server: FakeServer) -> None:
        async with VoiceClient(server.url) as client:
            with pytest.raises(VoiceServiceError, match="latency"):
                await client.flush()

    with_server(FakeServer(behaviour=ready_without), older)


def test_nothing_can_be_sent_after_the_end() -> None:
    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url) as client:
            await client.end()
            await client.end()
            with pytest.raises(RuntimeError, match="after end"):
                await client.send(tone(0.1))

    with_server(FakeServer(), body)


def test_warnings_do_not_end_the_session() -> None:
    async def warn(server: FakeServer, connection: ServerConnection, hello: dict[str, Any]) -> None:
        await fake_server.say(connection, type="warning", code="LATE", message="slow", extra=1)
        await fake_server.say(connection, type="invented-later")
        await fake_server.echo(server, connection, hello)

    told: list[object] = []

    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url, on_notice=told.append) as client:
            assert len(await talk(client, tone(0.1))) == 1600

    with_server(FakeServer(behaviour=warn), body)
    assert told == [Warned("LATE", "slow", 0.0)]


def test_refusal_is_raised_on_entering_with_code_message_and_details() -> None:
    error = failure_of(
        FakeServer(
            behaviour=fake_server.refuse(
                "AUTH_FAILED", 4401, "the key is wrong", expected="a key", hint="ask for one"
            )
        )
    )
    assert (error.code, error.message, error.hint) == (
        "AUTH_FAILED",
        "the key is wrong",
        "ask for one",
    )
    assert str(error) == "AUTH_FAILED: the key is wrong; expected a key\nask for one"


def test_busy_says_when_to_come_again() -> None:
    error = failure_of(FakeServer(behaviour=fake_server.refuse("BUSY", 4429, retry_after_s=5)))
    assert error.code == "BUSY"
    assert error.details["retry_after_s"] == 5


def test_simple_dialect_takes_the_code_from_the_close() -> None:
    error = failure_of(
        FakeServer(behaviour=fake_server.refuse("BUSY", 4429, "full")), dialect="simple"
    )
    assert (error.code, error.message) == ("BUSY", "full")


def test_close_codes_are_the_servers() -> None:
    assert {code.close_code: code.value for code in ErrorCode} == CODE_OF_CLOSE


def test_going_away_keeps_the_audio_before_it() -> None:
    told: list[object] = []
    received: list[FloatArray] = []

    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url, on_notice=told.append) as client:
            for _ in range(3):
                await client.send(tone(0.02))
            try:
                async for samples in client:
                    received.append(samples)  # noqa: PERF401
            except VoiceServiceError as error:
                told.append(error.code)

    with_server(FakeServer(behaviour=fake_server.go_away), body)
    assert told == [GoingAway(0.1), "GOING_AWAY"]
    assert sum(map(len, received)) == 960


def test_sending_raises_the_servers_error() -> None:
    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url) as client:
            with pytest.raises(VoiceServiceError) as caught:
                await send_for_ever(client)
            assert caught.value.code == "GOING_AWAY"

    with_server(FakeServer(behaviour=fake_server.go_away), body)


@pytest.mark.parametrize("dialect", ["standard", "simple"])
def test_broken_line_is_told_as_such(dialect: Any) -> None:
    error = failure_of(FakeServer(behaviour=fake_server.break_off), dialect=dialect)
    assert error.code == "CONNECTION_LOST"
    assert "without a word" in error.message


def test_close_without_complete_is_a_failure() -> None:
    async def close(
        server: FakeServer, connection: ServerConnection, hello: dict[str, Any]
    ) -> None:
        await fake_server.say_ready(server, connection, hello)
        await connection.close(1000, "bye")

    error = failure_of(FakeServer(behaviour=close))
    assert error.code == "CONNECTION_LOST"
    assert "1000, bye" in error.message


def test_upgrade_refused_with_403() -> None:
    server = FakeServer(refuse=(HTTPStatus.FORBIDDEN, {}, "Host not allowed"))
    error = failure_of(server)
    assert error.code == "HTTP_403"
    assert "Host not allowed" in error.message
    assert "allowed_hosts" in str(error)


def test_upgrade_refused_with_503_says_when_to_come_again() -> None:
    server = FakeServer(refuse=(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "7"}, ""))
    error = failure_of(server)
    assert error.code == "HTTP_503"
    assert error.details["retry_after_s"] == 7


def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{free.getsockname()[1]}/ws"

    async def body() -> None:
        async with VoiceClient(url):
            pass

    with pytest.raises(VoiceServiceError, match="fast-vc serve") as caught:
        asyncio.run(body())
    assert caught.value.code == "CONNECTION_FAILED"


@pytest.mark.parametrize("url", ["http://localhost:1/ws", "localhost", "ws://[::1"])
def test_no_address_of_a_service(url: str) -> None:
    async def body() -> None:
        async with VoiceClient(url):
            pass

    with pytest.raises(VoiceServiceError) as caught:
        asyncio.run(body())
    assert caught.value.code == "CONNECTION_FAILED"


def test_silent_server_is_given_up_on_entering() -> None:
    error = failure_of(FakeServer(behaviour=fake_server.stay_silent), answer_timeout_s=0.3)
    assert error.code == "CLIENT_TIMEOUT"


@pytest.mark.parametrize("dialect", ["standard", "simple"])
def test_silent_server_is_given_up_after_the_end(dialect: Any) -> None:
    server = FakeServer(behaviour=fake_server.go_silent_after_ready)
    if dialect == "simple":
        server.behaviour = fake_server.stay_silent
    error = failure_of(server, answer_timeout_s=0.3, dialect=dialect)
    assert error.code == "CLIENT_TIMEOUT"


def test_silent_server_is_given_up_while_sending() -> None:
    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url, answer_timeout_s=0.3) as client:
            with pytest.raises(VoiceServiceError) as caught:
                await send_for_ever(client)
            assert caught.value.code == "CLIENT_TIMEOUT"

    with_server(FakeServer(behaviour=fake_server.go_silent_after_ready), body)


def test_silent_client_owes_and_is_owed_nothing() -> None:
    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url, answer_timeout_s=0.5) as client:
            await client.send(tone(0.02))
            await spend_async(1.2)
            await client.end()
            assert sum([len(samples) async for samples in client]) == 320

    with_server(FakeServer(), body)


def test_text_that_is_no_protocol_is_refused() -> None:
    async def babble(_server: FakeServer, connection: ServerConnection, _hello: object) -> None:
        await connection.send("<html>")
        await connection.wait_closed()

    error = failure_of(FakeServer(behaviour=babble))
    assert error.code == "PROTOCOL_ERROR"
    assert "<html>" in str(error)


def test_timeline_notes_both_directions() -> None:
    timeline = Timeline()

    async def body(server: FakeServer) -> None:
        async with VoiceClient(server.url, timeline=timeline) as client:
            await client.send(tone(0.02), due_s=5.0)
            await client.send(tone(0.01))
            await client.end()
            async for _samples in client:
                pass

    with_server(FakeServer(), body)
    assert [entry.cumulative_ms for entry in timeline.sends] == [20.0, 30.0]
    assert [entry.cumulative_ms for entry in timeline.recvs] == [20.0, 30.0]
    first, second = timeline.sends
    assert first.timestamp == 5.0
    assert first.actual_timestamp is not None
    assert first.actual_timestamp > 5.0
    assert second.timestamp == second.actual_timestamp
    assert timeline.recvs[0].timestamp >= first.actual_timestamp


@needs_opus
def test_opus_both_ways_is_aligned_and_as_long_as_the_input() -> None:
    """The echo sends the client's own packets back: only the client's encoder delays them."""
    audio = speech(1.53, 16_000)

    async def body(server: FakeServer) -> None:
        timeline = Timeline()
        async with VoiceClient(
            server.url, encoding="OPUS", encoding_out="OPUS", bitrate=64_000, timeline=timeline
        ) as client:
            output = await talk(client, audio, step=500)
        assert len(output) == len(audio)
        assert abs(lag(output, audio)) <= 2
        assert timeline.sends[-1].cumulative_ms == 20.0 * len(server.audio)

    with_server(FakeServer(), body)


@needs_opus
def test_opus_output_loses_its_pre_skip_and_padding() -> None:
    encoder = make_encoder("OPUS", 24_000)
    audio = speech(1.25, 24_000)
    packets = encoder.encode(audio) + encoder.flush()

    async def convert(
        server: FakeServer, connection: ServerConnection, hello: dict[str, Any]
    ) -> None:
        await fake_server.say_ready(server, connection, hello)
        async for message in connection:
            if isinstance(message, str):
                break
        for packet in packets:
            await connection.send(packet)
        await fake_server.say(connection, type="complete", stats={"sent_samples": len(audio)})
        await connection.close()

    async def body(server: FakeServer) -> None:
        timeline = Timeline()
        async with VoiceClient(
            server.url, encoding_out="OPUS", sample_rate_out=24_000, timeline=timeline
        ) as client:
            output = await talk(client, tone(1.25))
        assert len(output) == len(audio)
        assert abs(lag(output, audio)) <= 2
        skipped_ms = encoder.pre_skip_samples / 24
        assert timeline.recvs[0].cumulative_ms == pytest.approx(20 - skipped_ms)

    with_server(FakeServer(behaviour=convert, pre_skip=encoder.pre_skip_samples), body)


@needs_opus
def test_undecodable_output_ends_the_session() -> None:
    async def garble(
        server: FakeServer, connection: ServerConnection, hello: dict[str, Any]
    ) -> None:
        await fake_server.say_ready(server, connection, hello)
        await connection.send(b"")
        await connection.wait_closed()

    error = failure_of(FakeServer(behaviour=garble), encoding_out="OPUS")
    assert error.code == "PROTOCOL_ERROR"
