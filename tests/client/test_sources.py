"""Iterators, threads and microphones as sources, against a server that sends everything back."""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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
    microphone,
)
from fast_vc_service.client.microphone import (
    Capture,
    DevicesError,
    Heard,
    PushToTalk,
    Render,
    SoundCards,
    talk,
)
from fast_vc_service.client.playout import PlayoutBuffer
from fast_vc_service.client.registers import RememberedRegisters
from fast_vc_service.contract import FloatArray
from waiting import spend_async, until

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
            await spend_async(0)
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
    until(lambda: threading.active_count() <= before + 1)


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

    def microphone_name(self) -> str:
        return "USB microphone"

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
        try:
            yield
        finally:
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


def test_push_to_talk_sends_what_is_said_while_talking_and_flushes(server: FakeServer) -> None:
    devices = FakeDevices()
    asked = iter([False] * 5 + [True] * 10 + [False] * 25)

    async def run() -> Heard:
        return await talk(
            devices,
            url=server.url,
            buffer_ms=40,
            seconds=0.8,
            is_talking=lambda: next(asked, False),
        )

    heard = asyncio.run(run())
    sent = np.frombuffer(b"".join(server.audio), "<i2") / 32767
    said, flushed = sent[: 10 * 320], sent[10 * 320 :]
    np.testing.assert_allclose(said, NOISE[5 * 320 : 15 * 320], atol=2 / 32768)
    assert flushed.tolist() == [0.0] * 320, "latency_ms of the server"
    assert heard.underruns == 0, "silence after the last word is no gap"


def test_a_fault_while_talking_is_told_at_once(server: FakeServer) -> None:
    def is_talking() -> bool:
        raise ZeroDivisionError

    async def run() -> Heard:
        return await talk(FakeDevices(), url=server.url, is_talking=is_talking)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run())


def test_each_line_starts_or_stops_talking() -> None:
    told: list[bool] = []
    lines: queue.Queue[str | None] = queue.Queue()
    key = PushToTalk(iter(lines.get, None), told.append)
    assert not key.talking
    for _ in range(3):
        lines.put("\n")
    lines.put(None)
    key.wait_closed(10)
    assert told == [True, False, True]
    assert not key.talking, "nobody can stop it any more"


def test_an_idle_session_is_kept_alive(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "KEEP_ALIVE_S", 0.2)

    async def run() -> Heard:
        return await talk(FakeDevices(), url=server.url, seconds=0.7, is_talking=lambda: False)

    asyncio.run(run())
    assert [len(message) for message in server.audio] == [640] * 3
    assert not any(b"".join(server.audio))


def test_what_was_learned_of_a_speaker_is_told_the_next_time(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registers = RememberedRegisters(tmp_path / "data" / "microphones.json")

    def run() -> int:
        return microphone.run(
            FakeDevices(),
            url=server.url,
            buffer_ms=20,
            seconds=0.1,
            ca_file=None,
            registers=registers,
            options={"voice": "alto"},
        )

    server.source_f0_hz = 118.46
    assert run() == 0
    server.source_f0_hz = None
    assert run() == 0
    assert [hello.get("source_f0_hz") for hello in server.hellos] == [None, 118.5]
    assert "118 Hz" in capsys.readouterr().err
    # Too little was said the second time: what was known stays.
    assert registers.get("USB microphone") == 118.5
    registers.forget("USB microphone")
    assert run() == 0
    assert "source_f0_hz" not in server.hellos[-1]


@pytest.mark.parametrize("text", [None, "", "[1]", "{", '{"a": "x"}', '{"a": 20}', '{"a": null}'])
def test_a_broken_memory_is_none(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "microphones.json"
    if text is not None:
        path.write_text(text)
    registers = RememberedRegisters(path)
    assert registers.get("a") is None
    registers.forget("a")
    registers.remember("a", 200.0)
    registers.remember("b", 100.0)
    assert (registers.get("a"), registers.get("b")) == (200.0, 100.0)


def test_a_memory_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    registers = RememberedRegisters(tmp_path / "file" / "microphones.json")
    registers.remember("a", 200.0)
    assert registers.get("a") is None


def test_the_first_interrupt_ends_the_session_in_order(server: FakeServer, tmp_path: Path) -> None:
    registers = RememberedRegisters(tmp_path / "microphones.json")
    server.source_f0_hz = 210.0

    def interrupt() -> None:
        until(lambda: len(server.audio) > 5, "some audio was sent")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    status = microphone.run(
        FakeDevices(),
        url=server.url,
        buffer_ms=20,
        seconds=None,
        ca_file=None,
        registers=registers,
        options={},
    )
    thread.join()
    assert status == 0
    assert server.texts == [{"type": "end"}]
    assert registers.get("USB microphone") == 210.0


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
    about = {"name": "USB microphone", "max_input_channels": 1}
    fake.query_devices = lambda device=None, kind=None: (
        {"default_samplerate": 96_000.0 if kind == "input" else 44_100.0, **about}
        if kind
        else "0 card"
    )
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    cards = SoundCards()
    assert cards.rates_hz() == (48_000, 44_100)
    assert cards.listing() == "0 card"
    assert cards.microphone_name() == "USB microphone"
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


@pytest.mark.parametrize(("channels", "opened"), [(1, [1]), (2, [2]), (32, [2]), (6, [2, 6])])
def test_two_channels_are_heard_where_there_are_some(
    monkeypatch: pytest.MonkeyPatch, channels: int, opened: list[int]
) -> None:
    """Opposite in phase, as a miswired microphone sends them; an array wants all its channels."""
    asked: list[int] = []

    class Stream:
        def __init__(self, **named: Any) -> None:
            asked.append(named["channels"])
            if channels == 6 and named["channels"] != 6:
                raise PortAudioError("Invalid number of channels")
            self.callback = named["callback"]

        def __enter__(self) -> None:
            block = np.zeros((320, asked[-1]), np.float32)
            block[:, 0] = NOISE[:320]
            if asked[-1] > 1:
                block[:, 1] = -NOISE[:320]
            block[:, 2:] = 0.9
            self.callback(block, 320, None, None)

        def __exit__(self, *_why: object) -> None:
            pass

    fake: Any = ModuleType("sounddevice")
    fake.InputStream, fake.PortAudioError = Stream, PortAudioError
    fake.query_devices = lambda device=None, kind=None: {
        "name": "array",
        "max_input_channels": channels,
        "default_samplerate": 16_000.0,
    }
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    captured: list[FloatArray] = []
    with SoundCards().record(16_000, captured.append):
        pass
    assert asked == opened
    np.testing.assert_allclose(np.abs(captured[0]), np.abs(NOISE[:320]), atol=1e-6)
