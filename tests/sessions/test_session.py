from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from fast_vc_service.audio.codecs import make_decoder, make_encoder
from fast_vc_service.contract import FloatArray, State, Voice
from fast_vc_service.engine.scheduler import Scheduler, Slot
from fast_vc_service.engine.stream import Stream, convert_offline
from fast_vc_service.protocol.codes import ErrorCode, WarningCode
from fast_vc_service.protocol.messages import (
    Complete,
    Marker,
    MarkerReached,
    Update,
    Updated,
    Warned,
)
from fast_vc_service.protocol.opening import Start
from fast_vc_service.sessions.errors import SessionError
from fast_vc_service.sessions.observer import BlockTimes, Stage
from fast_vc_service.sessions.outbox import Output
from fast_vc_service.sessions.pacing import SessionLimits
from fast_vc_service.sessions.session import Session
from stub_converter import StubConverter, stub_voice
from waiting import PATIENCE_S, spend, spend_async, until_async


class Silent:
    """An observer that only counts."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.lates = 0

    def session_opened(self) -> None: ...
    def session_closed(self, code: str) -> None: ...
    def refused(self, code: str) -> None: ...
    def step(self, seconds: float, batch: int) -> None: ...

    def block(self, times: BlockTimes) -> None:
        self.stages += times

    def late(self, blocks: int) -> None:
        self.lates += blocks


@dataclass
class Talk:
    """A session with everything around it, and what it has sent."""

    session: Session
    converter: StubConverter
    observer: Silent
    sent: list[Output] = field(default_factory=list)

    async def read(self) -> None:
        while (output := await self.session.next_output()) is not None:
            self.sent.append(output)
            self.session.handed_over(output)

    async def say(self, audio: FloatArray, chunk: int = 320) -> None:
        pcm = (audio * 32767).astype("<i2").tobytes()
        for start in range(0, len(pcm), 2 * chunk):
            await self.session.feed(pcm[start : start + 2 * chunk], time.monotonic())

    def audio(self) -> FloatArray:
        payload = b"".join(output.payload for output in self.sent if output.payload)
        return np.frombuffer(payload, "<i2").astype(np.float32) / 32768

    def notices(self, kind: type) -> list:
        return [output.notice for output in self.sent if isinstance(output.notice, kind)]


def talk(
    script: Callable[[Talk], Awaitable[None]],
    *,
    start: Start | None = None,
    converter: StubConverter | None = None,
    limits: SessionLimits | None = None,
    send_now: Callable[[bytes], bool] = lambda _payload: False,
) -> Talk:
    """Run ``script`` against a session whose outputs are read all the while."""

    async def conversation() -> Talk:
        given = start or Start(realtime=False)
        model = converter or StubConverter(noise=0.0)
        scheduler = Scheduler(model, threads=1, max_batch=4)
        scheduler.start()
        voice = stub_voice()
        encoder = make_encoder(given.encoding_out, given.sample_rate_out, given.bitrate_out)
        observer = Silent()
        session = Session(
            start=given,
            voice=voice,
            slot=opened(scheduler, voice, given.seed),
            stream=Stream(
                model,
                rate_in=given.sample_rate,
                rate_out=given.sample_rate_out,
                trim_delay=given.trim_delay,
                codec_delay_s=encoder.pre_skip_samples / given.sample_rate_out,
            ),
            decoder=make_decoder(given.encoding, given.sample_rate, given.bit_depth),
            encoder=encoder,
            find_voice=find_voice,
            limits=limits or SessionLimits(),
            observer=observer,
            send_now=send_now,
        )
        told = Talk(session, model, observer)
        reader = asyncio.create_task(told.read())
        try:
            async with asyncio.timeout(20):
                await script(told)
                await reader
        finally:
            session.close()
            reader.cancel()
            scheduler.stop()
        return told

    return asyncio.run(conversation())


def opened(scheduler: Scheduler, voice: Voice, seed: int) -> Slot:
    slot = scheduler.reserve(post=asyncio.get_running_loop().call_soon_threadsafe, log_id="-")
    slot.make_state(voice, 0.0, seed, 118.5)
    return slot


async def find_voice(name: str) -> Voice:
    if name != "loud":
        raise LookupError(f"no voice is called {name!r}")
    return stub_voice("loud", 1.0)


def ramp(samples: int) -> FloatArray:
    return np.linspace(-0.9, 0.9, samples).astype(np.float32)


def test_audio_comes_back_whole_and_in_place() -> None:
    async def script(t: Talk) -> None:
        await t.say(ramp(5001), chunk=333)
        t.session.end()

    told = talk(script)
    assert len(told.audio()) == 5001
    assert np.abs(told.audio() - ramp(5001) * 0.5).max() < 1e-4
    summary = told.session.complete()
    assert summary.sent_samples == 5001
    assert summary.received_ms == summary.total_processed_ms == pytest.approx(5001 / 16)
    assert summary.chunks_processed == -(-(5001 + 320) // 640)
    assert summary.silenced_ms == summary.concealed_ms == 0
    assert summary.is_real_time
    assert 0 < summary.latency_p50_ms <= summary.latency_p99_ms
    every_block = {"resample_in", "queue", "step", "resample_out", "encode", "send", "total"}
    assert every_block <= set(told.observer.stages)


def test_complete_tells_what_the_state_has_learned_of_the_speaker() -> None:
    told: list[float | None] = []

    async def script(t: Talk) -> None:
        await t.say(ramp(1000))
        t.session.end()
        told.append(t.session.complete().source_f0_hz)
        t.session.close()
        told.append(t.session.complete().source_f0_hz)

    talk(script)
    # The stub's state knows what it was given; after the end there is none.
    assert told == [118.5, None]


def test_a_live_session_gives_the_samples_of_an_offline_conversion() -> None:
    audio = ramp(9000)

    async def script(t: Talk) -> None:
        await t.say(audio, chunk=450)
        t.session.end()

    start = Start(sample_rate=48000, sample_rate_out=24000, realtime=False, seed=5)
    told = talk(script, start=start, converter=StubConverter())
    heard = (audio * 32767).astype("<i2").astype(np.float32) / 32768
    offline = convert_offline(StubConverter(), stub_voice(), heard, 48000, 24000, seed=5)
    assert np.abs(told.audio() - offline).max() <= 1 / 32768


def test_end_without_audio_completes_with_zeros() -> None:
    async def script(t: Talk) -> None:
        t.session.end()

    told = talk(script)
    summary = told.session.complete()
    assert told.sent == []
    assert (summary.sent_samples, summary.chunks_processed, summary.received_ms) == (0, 0, 0.0)
    assert summary.real_time_factor["mean"] is None
    assert summary.is_real_time


def test_untrimmed_output_starts_with_the_delay() -> None:
    async def script(t: Talk) -> None:
        await t.say(np.full(1600, 0.5, np.float32))
        t.session.end()

    told = talk(script, start=Start(realtime=False, trim_delay=False))
    assert len(told.audio()) == 1600 + 320
    assert not told.audio()[:320].any()
    assert told.audio()[320] > 0.2


def test_a_marker_follows_the_audio_it_marks() -> None:
    async def script(t: Talk) -> None:
        t.session.mark(Marker("first"))
        await t.say(ramp(1000))
        t.session.mark(Marker(2))
        await t.say(ramp(3000))
        t.session.mark(Marker("last"))
        t.session.end()

    told = talk(script)
    places = {}
    carried = 0
    for output in told.sent:
        if output.payload:
            carried += len(output.payload) // 2
        elif isinstance(output.notice, MarkerReached):
            places[output.notice.id] = carried
            assert output.notice.sent_ms == pytest.approx(carried / 16)
    assert list(places) == ["first", 2, "last"]
    assert places["first"] > 0
    assert 1000 < places[2] <= 1000 + 640
    assert places["last"] == 4000


def test_a_marker_without_more_audio_waits() -> None:
    async def script(t: Talk) -> None:
        await t.say(ramp(640))
        t.session.mark(Marker("waits"))
        await spend_async(0.1)
        assert not t.notices(MarkerReached)
        t.session.end()

    assert [n.id for n in talk(script).notices(MarkerReached)] == ["waits"]


def test_at_most_64_markers_wait() -> None:
    async def script(t: Talk) -> None:
        for number in range(70):
            t.session.mark(Marker(number))
        t.session.end()

    told = talk(script)
    assert len(told.notices(MarkerReached)) == 64
    warnings = told.notices(Warned)
    assert {warning.code for warning in warnings} == {WarningCode.TOO_MANY_MARKERS}
    assert len(warnings) <= 2


def test_an_update_takes_effect_at_the_next_block_boundary() -> None:
    async def script(t: Talk) -> None:
        await t.say(np.full(1000, 0.5, np.float32))
        await t.session.update(Update(voice="loud"))
        await t.say(np.full(3000, 0.5, np.float32))
        t.session.end()

    told = talk(script, converter=StubConverter(noise=0.0, delay=0))
    audio = told.audio()
    assert np.abs(audio[:1280] - 0.25).max() < 1e-3
    assert np.abs(audio[1280:] - 0.5).max() < 1e-3
    (updated,) = told.notices(Updated)
    assert updated == Updated("loud", 0.0, 80.0)
    before = told.sent[: [output.notice for output in told.sent].index(updated)]
    assert sum(len(output.payload or b"") for output in before) == 1280 * 2


@pytest.mark.parametrize("updates", [64, 65, 40_000])
def test_of_many_updates_the_newest_holds_and_the_latest_64_are_answered(updates: int) -> None:
    async def script(t: Talk) -> None:
        for number in range(updates):
            await t.session.update(Update(pitch_shift=number / updates))
        await t.say(np.full(3000, 0.5, np.float32))
        t.session.end()

    told = talk(script)
    answered = [updated.pitch_shift for updated in told.notices(Updated)]
    assert answered == [number / updates for number in range(updates - 64, updates)]
    codes = {warning.code for warning in told.notices(Warned)}
    assert codes == ({WarningCode.TOO_MANY_UPDATES} if updates > 64 else set())


def test_updates_at_different_places_are_answered_in_their_order() -> None:
    async def script(t: Talk) -> None:
        for number in range(100):
            await t.session.update(Update(pitch_shift=number / 10))
            await t.say(np.full(1280, 0.5, np.float32))
        t.session.end()

    told = talk(script)
    assert [updated.pitch_shift for updated in told.notices(Updated)] == [
        number / 10 for number in range(100)
    ]
    assert told.notices(Warned) == []


def test_a_refused_update_changes_nothing() -> None:
    async def script(t: Talk) -> None:
        await t.session.update(Update(voice="nobody"))
        await t.say(np.full(1600, 0.5, np.float32))
        t.session.end()

    told = talk(script)
    (warning,) = told.notices(Warned)
    assert warning.code is WarningCode.UNKNOWN_VOICE
    assert "nobody" in warning.message
    assert told.notices(Updated) == []
    assert np.abs(told.audio() - 0.25).max() < 1e-3


def test_a_partial_sample_at_the_end_is_dropped_with_a_warning() -> None:
    async def script(t: Talk) -> None:
        await t.session.feed(b"\x01\x02\x03", time.monotonic())
        t.session.end()

    told = talk(script)
    assert [warning.code for warning in told.notices(Warned)] == [WarningCode.PARTIAL_SAMPLE]
    assert len(told.audio()) == 1


def test_a_block_that_fails_is_silence_of_the_same_length_and_told() -> None:
    converter = StubConverter(noise=0.0)
    converter.fail_on = {0}

    async def script(t: Talk) -> None:
        await t.say(np.full(3200, 0.5, np.float32))
        t.session.end()

    told = talk(script, converter=converter)
    assert len(told.audio()) == 3200
    assert not told.audio().any()
    assert told.notices(Warned)[0].code is WarningCode.CONVERSION_FAILED
    summary = told.session.complete()
    assert summary.silenced_ms > 0
    assert not summary.is_real_time


class Slow(StubConverter):
    """Takes ``step_s`` a step."""

    step_s = 0.5

    def step(self, blocks, states):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        spend(self.step_s)
        return super().step(blocks, states)


def test_a_live_session_that_cannot_be_served_in_time_is_silenced_and_stays_aligned() -> None:
    async def script(t: Talk) -> None:
        started = time.monotonic()
        for tick in range(50):
            await spend_async(started + 0.02 * tick - time.monotonic())
            await t.say(np.full(320, 0.5, np.float32))
        t.session.end()

    began = time.monotonic()
    told = talk(script, start=Start(), converter=Slow(noise=0.0))
    # To convert all 25 blocks would take 12.5 s.
    assert time.monotonic() - began < 8.0, "latency must not grow without end"
    assert len(told.audio()) == 16000
    summary = told.session.complete()
    assert summary.silenced_ms > 100
    assert told.observer.lates * 40 == summary.silenced_ms
    assert not summary.is_real_time
    warnings = told.notices(Warned)
    assert {warning.code for warning in warnings} == {WarningCode.LATE}
    assert len(warnings) <= 3, "coalesced to one a second"
    assert told.audio().any()


def test_an_upload_is_never_silenced_however_slow_the_service() -> None:
    async def script(t: Talk) -> None:
        await t.say(np.full(6400, 0.5, np.float32))
        t.session.end()

    told = talk(script, start=Start(realtime=False), converter=Slow(noise=0.0))
    assert told.session.complete().silenced_ms == 0
    assert np.abs(told.audio() - 0.25).max() < 1e-3


def test_a_client_ahead_of_the_clock_is_paced_and_not_silenced() -> None:
    async def script(t: Talk) -> None:
        began = time.monotonic()
        await t.say(np.full(16000, 0.5, np.float32))
        assert 0.7 < time.monotonic() - began < 8
        t.session.end()

    told = talk(script, start=Start(), limits=SessionLimits(max_buffered_ms=200, late_ms=60_000))
    assert told.session.complete().silenced_ms == 0
    assert np.abs(told.audio() - 0.25).max() < 1e-3


def test_audio_that_cannot_be_taken_at_once_is_not_taken_at_all() -> None:
    """Bytes offered past the reader: all of a message or nothing of it."""
    taken: list[bool] = []

    async def script(t: Talk) -> None:
        chunk = (np.full(320, 0.5) * 32767).astype("<i2").tobytes()
        now = time.monotonic()
        assert not t.session.feed_now(chunk * 8, now), "too long to be decoded in one go"
        taken.extend(t.session.feed_now(chunk, now) for _ in range(20))
        rest = chunk * (20 - sum(taken))
        await t.session.feed(rest, time.monotonic())
        t.session.end()

    told = talk(script, start=Start(), limits=SessionLimits(max_buffered_ms=100))
    # 100 ms ahead of the clock, and the chunk with which that is exceeded.
    assert taken == [True] * 6 + [False] * 14
    assert len(told.audio()) == 20 * 320
    assert np.abs(told.audio() - 0.25).max() < 1e-3


def test_a_client_that_does_not_read_is_not_read_either() -> None:
    async def conversation() -> None:
        async def script(t: Talk) -> None:
            feeding = asyncio.create_task(t.say(np.zeros(16000 * 30, np.float32)))
            await until_async(lambda: t.session.paced)
            assert not feeding.done()
            feeding.cancel()
            t.session.fail(SessionError(ErrorCode.TIMEOUT, "enough"))

        await script(await never_read())

    async def never_read() -> Talk:
        model = StubConverter(noise=0.0)
        scheduler = Scheduler(model, threads=1, max_batch=1)
        scheduler.start()
        session = Session(
            start=Start(realtime=False),
            voice=stub_voice(),
            slot=opened(scheduler, stub_voice(), 0),
            stream=Stream(model, rate_in=16000, rate_out=16000),
            decoder=make_decoder("PCM", 16000, 16),
            encoder=make_encoder("PCM", 16000),
            find_voice=find_voice,
            limits=SessionLimits(),
            observer=Silent(),
        )
        return Talk(session, model, Silent())

    asyncio.run(conversation())


def test_fail_sends_what_was_converted_then_the_error() -> None:
    async def script(t: Talk) -> None:
        await t.say(np.full(1280, 0.5, np.float32))
        await until_async(lambda: t.audio().any())
        t.session.fail(SessionError(ErrorCode.SESSION_LIMIT, "long enough"))
        await t.say(np.full(1280, 0.5, np.float32))

    told = talk(script)
    assert told.sent[-1].error is not None
    assert told.sent[-1].error.code is ErrorCode.SESSION_LIMIT
    assert len(told.audio()) <= 1280


def test_audio_that_can_be_sent_at_once_overtakes_nothing() -> None:
    way: list[Output] = []
    accepted: list[bool] = []

    def send_now(payload: bytes) -> bool:
        accepted.append(len(accepted) % 3 != 1)
        if accepted[-1]:
            way.append(Output(payload))
        return accepted[-1]

    async def script(t: Talk) -> None:
        t.sent = way
        for start in range(0, 16000, 640):
            await t.say(ramp(16000)[start : start + 640])
            t.session.mark(Marker(start))
            await spend_async(0.005)
        t.session.end()

    told = talk(script, send_now=send_now)
    assert {True, False} == set(accepted)
    assert np.abs(told.audio() - ramp(16000) * 0.5).max() < 1e-4
    assert told.session.complete().sent_samples == 16000
    samples = 0
    for output in way:
        samples += len(output.payload or b"") // 2
        if isinstance(output.notice, MarkerReached):
            assert output.notice.sent_ms == samples / 16


def test_a_fault_while_handing_on_a_block_ends_the_session_with_an_error() -> None:
    def send_now(_payload: bytes) -> bool:
        raise RuntimeError("no")

    async def script(t: Talk) -> None:
        await t.say(ramp(3200))

    told = talk(script, send_now=send_now)
    assert told.sent[-1].error is not None
    assert told.sent[-1].error.code is ErrorCode.INTERNAL_ERROR


def test_a_last_word_stands_in_for_complete() -> None:
    async def script(t: Talk) -> None:
        await t.say(ramp(1000))
        t.session.end(SessionError(ErrorCode.GOING_AWAY, "bye"))

    told = talk(script)
    assert len(told.audio()) == 1000
    assert told.sent[-1].error is not None
    assert told.sent[-1].error.code is ErrorCode.GOING_AWAY


class HeldConverter(StubConverter):
    """Converts nothing until it is let go on, so that what waits for it stays as it is."""

    def __init__(self) -> None:
        super().__init__(noise=0.0)
        self.go_on = threading.Event()

    def step(self, blocks: FloatArray, states: Sequence[State]) -> FloatArray:
        assert self.go_on.wait(PATIENCE_S)
        return super().step(blocks, states)


@pytest.mark.parametrize("realtime", [True, False])
def test_a_paced_upload_that_is_ended_keeps_what_was_taken(*, realtime: bool) -> None:
    """Fault: the rest of its message was pushed after the end."""
    taken: list[float] = []
    model = HeldConverter()

    async def script(t: Talk) -> None:
        feeding = asyncio.create_task(t.say(np.full(16_000 * 5, 0.5, np.float32), chunk=16_000 * 5))
        await until_async(lambda: t.session.paced)
        t.session.end(SessionError(ErrorCode.GOING_AWAY, "the service is stopping"))
        model.go_on.set()
        taken.append(t.session.received_ms)
        await feeding
        assert t.session.feed_now(b"\0\0", time.monotonic()), "what follows is dropped"
        await t.say(np.full(320, 0.5, np.float32))
        assert t.session.received_ms == taken[0]

    start, limits = Start(realtime=realtime), SessionLimits(late_ms=60_000)
    told = talk(script, start=start, converter=model, limits=limits)
    assert told.sent[-1].error is not None
    assert told.sent[-1].error.code is ErrorCode.GOING_AWAY
    assert 0 < taken[0] < 5000
    assert len(told.audio()) == taken[0] * 16


def test_a_session_whose_model_thread_ends_is_told_so_after_its_audio() -> None:
    async def script(t: Talk) -> None:
        await t.say(np.full(1280, 0.5, np.float32))
        await until_async(lambda: t.audio().any())
        t.converter.end_on = {0}
        await t.say(np.full(1280, 0.5, np.float32))

    told = talk(script)
    assert told.sent[-1].error is not None
    assert told.sent[-1].error.code is ErrorCode.INTERNAL_ERROR
    assert sum(output.error is not None for output in told.sent) == 1
    assert 0 < len(told.audio()) <= 1280


def test_one_huge_message_is_bounded_and_lost_nowhere() -> None:
    async def script(t: Talk) -> None:
        await t.say(ramp(160_000), chunk=160_000)
        t.session.end()

    told = talk(script)
    assert len(told.audio()) == 160_000


def opus_packets(audio: FloatArray) -> list[bytes]:
    encoder = make_encoder("OPUS", 16000)
    return [*encoder.encode(audio), *encoder.flush()]


def buzz(samples: int) -> FloatArray:
    return (0.3 * np.sin(2 * np.pi * 200 * np.arange(samples) / 16000)).astype(np.float32)


def test_opus_in_and_out_has_the_exact_length_after_pre_skip() -> None:
    packets = opus_packets(buzz(16000))

    async def script(t: Talk) -> None:
        for packet in packets:
            await t.session.feed(packet, time.monotonic())
        t.session.mark(Marker("end"))
        t.session.end()

    start = Start(encoding="OPUS", encoding_out="OPUS", sample_rate_out=48000, realtime=False)
    told = talk(script, start=start)
    summary = told.session.complete()
    assert summary.sent_samples == len(packets) * 960
    pre_skip = make_encoder("OPUS", 48000).pre_skip_samples
    count = sum(1 for output in told.sent if output.payload)
    assert 0 <= count * 960 - pre_skip - summary.sent_samples < 960
    assert told.sent[-1].notice == MarkerReached(
        "end", len(packets) * 20.0, summary.sent_samples / 48
    )


def test_lost_and_broken_packets_are_concealed_and_told() -> None:
    packets = opus_packets(buzz(8000))

    async def script(t: Talk) -> None:
        for packet in packets[:10]:
            await t.session.feed(packet, time.monotonic())
        await t.session.feed(b"", time.monotonic())
        await t.session.feed(b"\xff" * 7, time.monotonic())
        t.session.end()

    told = talk(script, start=Start(encoding="OPUS", realtime=False))
    summary = told.session.complete()
    assert summary.concealed_ms == 40
    assert summary.received_ms == 240
    assert [warning.code for warning in told.notices(Warned)] == [WarningCode.CORRUPT_AUDIO]


def test_no_more_than_five_lost_packets_in_a_row_are_concealed() -> None:
    packets = opus_packets(buzz(8000))

    async def script(t: Talk) -> None:
        await t.session.feed(packets[0], time.monotonic())
        for _ in range(9):
            await t.session.feed(b"", time.monotonic())
        t.session.end()

    summary = talk(script, start=Start(encoding="OPUS", realtime=False)).session.complete()
    assert summary.concealed_ms == 100


def test_a_second_of_broken_packets_is_an_error() -> None:
    async def script(t: Talk) -> None:
        await t.session.feed(opus_packets(buzz(8000))[0], time.monotonic())

        async def only_noise() -> None:
            for _ in range(60):
                await t.session.feed(b"\xff" * 7, time.monotonic())

        with pytest.raises(SessionError) as caught:
            await only_noise()
        assert caught.value.code is ErrorCode.INVALID_AUDIO
        t.session.fail(caught.value)

    told = talk(script, start=Start(encoding="OPUS", realtime=False))
    assert told.sent[-1].error is not None


def test_a_closed_session_says_and_takes_nothing_more() -> None:
    async def script(t: Talk) -> None:
        await t.say(ramp(640))
        t.session.close()
        await t.say(ramp(640))
        t.session.mark(Marker(1))
        t.session.end()

    assert talk(script).notices(Complete) == []
