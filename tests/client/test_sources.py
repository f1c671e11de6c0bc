"""Iterators, threads and microphones as sources, against a server that sends everything back."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fake_server import FakeServer, say

from fast_vc_service.cli import main
from fast_vc_service.client import (
    SyncVoiceClient,
    VoiceServiceError,
    convert_chunks,
    convert_stream,
)
from fast_vc_service.client.microphone import Capture, DevicesError, Heard, Render, SoundCards, talk
from fast_vc_service.client.playout import PlayoutBuffer
from fast_vc_service.contract import FloatArray

NOISE = np.random.default_rng(5).uniform(-0.5, 0.5, 16_000).astype(np.float32)


def chunks(audio: FloatArray = NOISE, size: int = 777) -> Iterator[FloatArray]:
    for start in range(0, len(audio), size):
        yield audio[start : start + size]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server in a thread of its own: the clients here have no event loop."""
    made, ready, loop = FakeServer(), threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with made.run():
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(10)
    yield made
    loop.call_soon_threadsafe(over.set)
    thread.join()
    loop.close()


def same(output: list[FloatArray], audio: FloatArray = NOISE) -> bool:
    heard = np.concatenate(output)
    return len(heard) == len(audio) and float(np.abs(heard - audio).max()) < 1e-4


def test_an_iterator_without_a_loop(server: FakeServer) -> None:
    assert same(list(convert_chunks(chunks(), url=server.url, voice="alto")))
    assert server.hellos[0]["voice"] == "alto"


@pytest.mark.parametrize("kind", ["iterable", "async"])
def test_an_iterator_in_a_loop(server: FakeServer, kind: str) -> None:
    async def spoken() -> AsyncIterator[FloatArray]:
        for chunk in chunks():
            await asyncio.sleep(0)
            yield chunk

    async def run() -> list[FloatArray]:
        source = spoken() if kind == "async" else chunks()
        return [samples async for samples in convert_stream(source, url=server.url)]

    assert same(asyncio.run(run()))


def test_output_comes_before_the_source_has_ended(server: FakeServer) -> None:
    heard = threading.Event()

    def waiting() -> Iterator[FloatArray]:
        yield NOISE[:8_000]
        assert heard.wait(10), "nothing came back"
        yield NOISE[8_000:]

    output = []
    for samples in convert_chunks(waiting(), url=server.url):
        output.append(samples)
        heard.set()
    assert same(output)


def test_what_a_source_raises_is_raised(server: FakeServer) -> None:
    def broken() -> Iterator[FloatArray]:
        yield NOISE
        raise OSError("the tape is torn")

    with pytest.raises(OSError, match="torn"):
        list(convert_chunks(broken(), url=server.url))


def test_leaving_early_closes_the_session(server: FakeServer) -> None:
    before = threading.active_count()
    for _ in convert_chunks(chunks(), url=server.url):
        break
    deadline = time.monotonic() + 10
    while threading.active_count() > before + 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before + 1


def test_a_session_without_async(server: FakeServer) -> None:
    with SyncVoiceClient(server.url, voice="alto") as client:
        assert client.ready is not None
        assert client.ready.voice == "alto"
        for chunk in chunks():
            client.send(chunk)
        client.update(voice="bass", pitch_shift=2.0)
        client.marker("there")
        client.end()
        assert same(list(client))
        assert client.stats is not None
    kinds = [text["type"] for text in server.texts]
    assert kinds[:2] == ["update", "marker"]


def test_a_refusal_without_async(server: FakeServer) -> None:
    async def refuse(_server: FakeServer, connection: Any, _hello: dict[str, Any]) -> None:
        await say(connection, type="error", error_code="BUSY", message="full", details={})
        await connection.close(4429)

    server.behaviour = refuse
    with pytest.raises(VoiceServiceError, match="BUSY"), SyncVoiceClient(server.url):
        pass


# ------------------------------------------------------------------ playing


def test_playing_begins_when_enough_is_there_and_loses_nothing() -> None:
    buffer = PlayoutBuffer(1_000, 0.1)
    ramp = np.full(1_000, 0.5, np.float32)
    buffer.push(ramp[:99])
    assert not buffer.pull(20).any()
    buffer.push(ramp[99:300])
    played = np.concatenate([buffer.pull(30) for _ in range(10)])
    np.testing.assert_array_equal(played[5:], 0.5)
    assert np.all(np.diff(played[:5]) > 0), "must fade in"
    assert buffer.underruns == 0


def test_a_gap_is_faded_counted_and_recovered_from() -> None:
    buffer = PlayoutBuffer(1_000, 0.02)
    buffer.push(np.full(50, 0.5, np.float32))
    buffer.pull(40)
    gap = buffer.pull(40)
    np.testing.assert_array_equal(gap[:10], 0.5)
    assert np.abs(np.diff(gap)).max() <= 0.5 / 4 + 1e-6
    assert not gap[16:].any()
    assert buffer.underruns == 1
    assert not buffer.pull(40).any()
    buffer.push(np.full(50, 0.5, np.float32))
    assert buffer.pull(40).any()


def test_the_end_is_played_however_short() -> None:
    buffer = PlayoutBuffer(1_000, 1.0)
    buffer.push(np.full(50, 0.5, np.float32))
    buffer.end()
    assert buffer.waiting_s == 0.05
    assert np.count_nonzero(buffer.pull(100)) > 45
    assert buffer.waiting_s == 0.0
    assert buffer.underruns == 0


# -------------------------------------------------------------- microphones


class FakeDevices:
    """A microphone that hears noise, and a loudspeaker that keeps what it plays."""

    rate = 16_000

    def __init__(self) -> None:
        self.played: list[FloatArray] = []

    def rates_hz(self) -> tuple[int, int]:
        return self.rate, self.rate

    @contextmanager
    def record(self, rate: int, capture: Capture) -> Iterator[None]:
        with self._ticking(lambda tick: capture(NOISE[320 * tick : 320 * (tick + 1)])):
            yield

    @contextmanager
    def play(self, rate: int, render: Render) -> Iterator[None]:
        with self._ticking(lambda _tick: self.played.append(render(320))):
            yield

    @contextmanager
    def _ticking(self, act: Callable[[int], None]) -> Iterator[None]:
        over = threading.Event()

        def tick() -> None:
            count, started = 0, time.monotonic()
            while not over.wait(max(0.0, started + 0.02 * count - time.monotonic())):
                act(count)
                count += 1

        thread = threading.Thread(target=tick)
        thread.start()
        yield
        over.set()
        thread.join()


def test_a_microphone_is_heard_from_the_loudspeaker(server: FakeServer) -> None:
    devices = FakeDevices()
    ready: list[str | None] = []

    async def run() -> Heard:
        return await talk(
            devices,
            url=server.url,
            buffer_ms=200,
            seconds=0.8,
            voice="alto",
            on_ready=lambda told: ready.append(told.voice),
        )

    heard = asyncio.run(run())
    assert ready == ["alto"]
    assert heard.underruns == 0
    played = np.concatenate(devices.played)
    first = int(np.argmax(played != 0))
    # Faded in over 5 ms, then to the sample what was said.
    said = NOISE[:12_800]
    np.testing.assert_allclose(played[first + 100 : first + 12_700], said[101:12_701], atol=1e-4)


def test_the_command_line_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.setattr(sys, "argv", ["fast-vc", "mic", "--voice", "alto"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert "fast-vc-service[mic]" in capsys.readouterr().err


class PortAudioError(Exception):
    pass


def test_sound_cards_are_opened_at_their_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[dict[str, Any]] = []

    class Stream:
        def __init__(self, **asked: Any) -> None:
            opened.append(asked)
            if asked["device"] == "broken":
                raise PortAudioError("device busy")

        def __enter__(self) -> None:
            frame = np.full((4, 1), 0.25, np.float32)
            opened[-1]["callback"](frame, 4, None, None)
            opened[-1]["block"] = frame

        def __exit__(self, *_why: object) -> None:
            pass

    fake: Any = ModuleType("sounddevice")
    fake.InputStream = fake.OutputStream = Stream
    fake.PortAudioError = PortAudioError
    fake.query_devices = lambda device=None, kind=None: (
        {"default_samplerate": 96_000.0 if kind == "input" else 44_100.0} if kind else "0 card"
    )
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    cards = SoundCards()
    assert cards.rates_hz() == (48_000, 44_100)
    assert cards.listing() == "0 card"
    captured: list[FloatArray] = []
    with cards.record(48_000, captured.append):
        pass
    assert captured[0].tolist() == [0.25] * 4
    with cards.play(44_100, lambda count: np.full(count, 0.5, np.float32)):
        pass
    assert opened[1]["block"][:, 0].tolist() == [0.5] * 4
    assert (opened[0]["samplerate"], opened[0]["channels"]) == (48_000, 1)
    with pytest.raises(DevicesError, match="busy"):
        SoundCards("broken").record(48_000, captured.append)
