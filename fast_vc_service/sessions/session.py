"""One live conversation: decoded audio in, converted audio and notices out.

A :class:`Session` lives on the event loop and knows neither sockets nor wire formats. The edge
feeds it messages and takes :class:`Output` items in order. Work is driven by callbacks: a block
that is ready goes to the scheduler, its result is encoded and queued, the next block follows.

Late policy (design): the stream clock starts with the first audio. Input that is further ahead of
it than ``max_buffered_ms`` is not read (paced). A block of a real-time session that has waited
``late_ms`` beyond both its receipt and its place on the stream clock is silenced.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from loguru import logger

from fast_vc_service.audio.codecs import Decoder, Encoder
from fast_vc_service.contract import SAMPLE_RATE_IN, CannotBlendError, FloatArray, Voice
from fast_vc_service.engine.batching import Result, VoiceChange
from fast_vc_service.engine.scheduler import Slot
from fast_vc_service.engine.stream import Stream
from fast_vc_service.sessions.errors import SessionError, WarningCode, internal_error
from fast_vc_service.sessions.events import (
    Complete,
    Marker,
    MarkerReached,
    Notice,
    Start,
    Update,
    Updated,
    Warned,
)
from fast_vc_service.sessions.intake import Intake
from fast_vc_service.sessions.observer import BlockTimes, Observer
from fast_vc_service.sessions.recorder import Recorder
from fast_vc_service.sessions.report import Histogram

MAX_MARKERS = 64
WARNING_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What a session may take.

    Attributes:
        max_buffered_ms: Audio read but not yet converted, and audio ahead of the stream clock.
        late_ms: Waiting time after which a block is silenced; None means two blocks.
    """

    max_buffered_ms: float = 2000.0
    late_ms: float | None = None


@dataclass(slots=True)
class Block:
    """What is to be remembered of a block while it is under way.

    Attributes:
        received_at: Monotonic seconds of the receipt of its last byte.
        due_at: Monotonic seconds from which it counts as waiting (late policy).
        updates: Changes of voice and pitch that take effect with it.
        times: What it has spent so far.
        queued_at: Monotonic seconds when its output was ready to be sent.
    """

    received_at: float
    due_at: float
    updates: Sequence[tuple[str, float]]
    times: BlockTimes = field(default_factory=dict)
    queued_at: float = 0.0


@dataclass(slots=True)
class Output:
    """One thing to send, in order.

    Exactly one of ``payload``, ``notice`` and ``error`` is set. ``completes`` is the block whose
    last output ``payload`` is.
    """

    payload: bytes | None = None
    notice: Notice | None = None
    error: SessionError | None = None
    completes: Block | None = None


class Session:
    """One conversation, from its first sample to its last.

    Args:
        start: The validated first message.
        voice: The voice it starts with.
        slot: Its place in the scheduler; closed by :meth:`close`.
        stream: Its sample accounting.
        decoder: Client bytes to samples.
        encoder: Samples to client bytes.
        find_voice: Looks a voice up by name for updates; raises ``LookupError`` or ``ValueError``.
        limits: Buffer sizes and the late policy.
        observer: Receives measurements.
        recorder: Writes the conversation to disk, or None.
        send_now: Sends audio at once and tells whether it could; what it could not send waits for
            :meth:`next_output`. It is asked only while nothing waits.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        start: Start,
        voice: Voice,
        slot: Slot,
        stream: Stream,
        decoder: Decoder,
        encoder: Encoder,
        find_voice: Callable[[str], Awaitable[Voice]],
        limits: SessionLimits,
        observer: Observer,
        recorder: Recorder | None = None,
        send_now: Callable[[bytes], bool] = lambda _payload: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start = start
        self._voice = voice
        self._pitch_shift = start.pitch_shift
        self._slot = slot
        self._stream = stream
        self._intake = Intake(start, decoder, self._warn)
        self._encoder = encoder
        self._find_voice = find_voice
        self._observer = observer
        self._recorder = recorder
        self._send_now = send_now
        self._clock = clock

        self._block_s = stream.block / SAMPLE_RATE_IN
        self._max_buffered_s = limits.max_buffered_ms / 1e3
        self._late_s = 2 * self._block_s if limits.late_ms is None else limits.late_ms / 1e3

        self._started_at: float | None = None
        self._open: deque[Block] = deque()
        self._changes: dict[int, tuple[VoiceChange, list[tuple[str, float]]]] = {}
        self._markers: deque[tuple[int, str | int]] = deque()
        self._outputs: deque[Output] = deque()
        self._queued_s = 0.0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._finished = False
        self._closed = False
        self._last_word: SessionError | None = None

        self._encoded_packets = 0
        self._delivered_samples = 0
        self._silenced_blocks = 0
        self._warned_at: dict[WarningCode, float] = {}
        self._unsaid: dict[WarningCode, str] = {}
        self._latency_s = Histogram()
        self._rtf = Histogram()
        self._decode_s = 0.0
        self._resample_in_s = 0.0

    # ------------------------------------------------------------------ input

    def feed_now(self, payload: bytes, received_at: float) -> bool:
        """Take one binary message if that can be done at once; else False, and nothing is taken.

        Args:
            payload: PCM bytes, or one Opus packet (empty: a lost one).
            received_at: Monotonic seconds of its receipt.

        Raises:
            SessionError: INVALID_AUDIO after a second of undecodable packets.
        """
        if self._over:
            return True
        if not self._intake.is_one_piece(payload) or self._room_in_s(received_at) > 0.0:
            return False
        self._take(payload, received_at)
        return True

    async def feed(self, payload: bytes, received_at: float) -> None:
        """Take one binary message as there is room for it; arguments as for :meth:`feed_now`.

        Raises:
            SessionError: INVALID_AUDIO after a second of undecodable packets.
        """
        for piece in self._intake.pieces(payload):
            if self._room_in_s(self._clock()) > 0.0:
                await self._wait_for_room()
            if self._over:
                return
            self._take(piece, received_at)

    def mark(self, marker: Marker) -> None:
        """Answer ``marker`` when the output has come this far."""
        if self._over:
            return
        if len(self._markers) >= MAX_MARKERS:
            self._warn(WarningCode.TOO_MANY_MARKERS, f"at most {MAX_MARKERS} markers may wait")
            return
        position = self._stream.output_position(self._stream.received_samples)
        self._markers.append((position, marker.id))
        self._answer_markers()

    async def update(self, update: Update) -> None:
        """Change voice or pitch from the first block boundary at or after this place."""
        if self._over:
            return
        voice = self._voice
        if update.voice is not None and update.voice != voice.name:
            try:
                voice = await self._find_voice(update.voice)
            except CannotBlendError as error:
                self._warn(WarningCode.INVALID_UPDATE, f"voice: {error}; choose one voice")
                return
            except (LookupError, ValueError) as error:
                self._warn(WarningCode.UNKNOWN_VOICE, str(error))
                return
        if update.pitch_shift is not None:
            self._pitch_shift = update.pitch_shift
        self._voice = voice
        index = self._stream.block_at(self._stream.received_samples)
        _, earlier = self._changes.get(index, (None, []))
        change = VoiceChange(voice, self._pitch_shift)
        self._changes[index] = (change, [*earlier, (voice.name, self._pitch_shift)])

    def warn(self, code: WarningCode, message: str) -> None:
        """Tell the client of something that was refused and changed nothing."""
        if not self._over:
            self._warn(code, message)

    def notify(self, notice: Notice) -> None:
        """Queue a notice that is not about this session's audio."""
        if not self._over:
            self._emit(Output(notice=notice))

    def end(self, last_word: SessionError | None = None) -> None:
        """No more input; the rest is converted, then comes ``complete`` (or ``last_word``)."""
        if self._over or self._stream.ended:
            return
        self._last_word = last_word
        partial = self._intake.pending_bytes()
        if partial:
            self._warn(
                WarningCode.PARTIAL_SAMPLE,
                f"{partial} bytes at the end are no whole sample: dropped",
            )
        self._stream.end()
        self._take_blocks(self._clock())
        if self._stream.done:
            self._finish()

    def fail(self, error: SessionError) -> None:
        """End at once: what is already converted is still sent, then ``error``."""
        if self._over:
            return
        self._finished = True
        self._emit(Output(error=error))
        self._room.set()

    def close(self) -> None:
        """Give everything back at once; idempotent."""
        if not self._closed:
            self._closed = True
            self._finished = True
            self._slot.close()
            self._room.set()
            self._arrived.set()
            if self._recorder is not None:
                self._recorder.close()

    # ----------------------------------------------------------------- output

    async def next_output(self) -> Output | None:
        """Return the next thing to send; None when the session is over and all was taken."""
        while not self._outputs:
            if self._finished:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return self._outputs.popleft()

    def handed_over(self, output: Output) -> None:
        """Count ``output`` as given to the transport."""
        if output.payload is None:
            return
        self._queued_s -= self._duration_s(output.payload)
        self._room.set()
        self._sent(output.completes)

    def complete(self) -> Complete:
        """Sum the session up (spec: ``complete.stats``)."""
        latency = self._latency_s.summary(scale=1e3)
        rtf = self._rtf.summary()
        silenced_ms = self._silenced_ms
        return Complete(
            total_processed_ms=self._processed_ms,
            chunks_processed=self._stream.blocks_accepted,
            average_latency_ms=latency["mean"] or 0.0,
            received_ms=self._received_ms,
            sent_ms=self._sent_ms,
            sent_samples=self._delivered_samples,
            silenced_ms=silenced_ms,
            concealed_ms=self._intake.concealed_s * 1e3,
            latency_p50_ms=latency["median"] or 0.0,
            latency_p95_ms=latency["p95"] or 0.0,
            latency_p99_ms=latency["p99"] or 0.0,
            real_time_factor=rtf,
            is_real_time=(rtf["p95"] is None or rtf["p95"] < 1) and silenced_ms == 0,
        )

    @property
    def paced(self) -> bool:
        """True while the session itself holds up the reading of input."""
        return not self._room.is_set() and not self._over

    # ---------------------------------------------------------------- private

    @property
    def _over(self) -> bool:
        return self._finished or self._closed

    @property
    def _received_ms(self) -> float:
        return self._stream.received_samples / self._stream.rate_in * 1e3

    @property
    def _sent_ms(self) -> float:
        return self._delivered_samples / self._stream.rate_out * 1e3

    @property
    def _processed_ms(self) -> float:
        return min(self._stream.blocks_accepted * self._block_s * 1e3, self._received_ms)

    @property
    def _silenced_ms(self) -> float:
        return self._silenced_blocks * self._block_s * 1e3

    def _take(self, piece: bytes, received_at: float) -> None:
        """Decode ``piece`` and submit the blocks that it completes."""
        if self._started_at is None and piece:
            self._started_at = received_at
        started = time.perf_counter()
        samples = self._intake.decode(piece)
        decoded = time.perf_counter()
        self._stream.push(samples)
        self._decode_s += decoded - started
        self._resample_in_s += time.perf_counter() - decoded
        if self._recorder is not None:
            self._recorder.input(samples, self._received_ms)
        self._take_blocks(received_at)

    def _take_blocks(self, received_at: float) -> None:
        while True:
            index = self._stream.blocks_taken
            samples = self._stream.take_block()
            if samples is None:
                return
            on_clock = (self._started_at or received_at) + (index + 1) * self._block_s
            change, updates = self._changes.pop(index, (None, ()))
            block = Block(received_at, max(received_at, on_clock), updates)
            block.times["decode"] = self._decode_s
            block.times["resample_in"] = self._resample_in_s
            self._decode_s = self._resample_in_s = 0.0
            self._submit(block, samples, change)

    def _submit(self, block: Block, samples: FloatArray, change: VoiceChange | None) -> None:
        """Hand a block to the scheduler, which keeps the order; results come in it."""
        self._open.append(block)
        live = self._start.realtime
        self._slot.submit(
            samples,
            self._converted,
            deadline=block.due_at + self._block_s if live else None,
            late_at=block.due_at + self._late_s if live else None,
            change=change,
        )

    def _converted(self, result: Result) -> None:
        if self._over:
            return
        try:
            self._take_result(self._open.popleft(), result)
        except Exception:
            logger.exception("a converted block could not be handed on")
            self.fail(internal_error())

    def _take_result(self, block: Block, result: Result) -> None:
        stream = self._stream
        for voice, pitch_shift in block.updates:
            from_ms = stream.sent_samples / stream.rate_out * 1e3
            self._emit(Output(notice=Updated(voice, pitch_shift, from_ms)))
        times = block.times
        times["queue"] = result.queued_s
        if result.silenced is None:
            times["step"] = result.step_s
            self._rtf.add(result.step_s / self._block_s)
        else:
            self._silence(result.silenced)
        started = time.perf_counter()
        samples = stream.accept(result.samples)
        resampled = time.perf_counter()
        payloads = self._encoder.encode(samples)
        done = stream.done
        if done:
            payloads += self._encoder.flush()
        times["resample_out"] = resampled - started
        times["encode"] = time.perf_counter() - resampled
        if self._recorder is not None:
            self._recorder.output(samples, stream.sent_samples / stream.rate_out * 1e3)
        self._deliver(payloads, block)
        if self._unsaid:
            self._say_unsaid(WARNING_INTERVAL_S)
        self._room.set()
        if done:
            self._finish()

    def _silence(self, reason: str) -> None:
        self._silenced_blocks += 1
        self._observer.late(1)
        if reason == "late":
            self._warn(
                WarningCode.LATE, "the service could not keep up: silence stands for some audio"
            )
        else:
            self._warn(
                WarningCode.CONVERSION_FAILED,
                "a block could not be converted: silence stands for it",
            )

    def _sent(self, completes: Block | None) -> None:
        """Count what was handed to the transport."""
        if completes is not None:
            now = self._clock()
            latency_s = now - completes.received_at
            self._latency_s.add(latency_s)
            completes.times["send"] = now - completes.queued_at
            completes.times["total"] = latency_s
            self._observer.block(completes.times)

    def _deliver(self, payloads: list[bytes], block: Block) -> None:
        block.queued_at = self._clock()
        for left, payload in enumerate(payloads, 1 - len(payloads)):
            self._emit_audio(payload, block if left == 0 else None)
            if self._encoder.packet_samples:
                self._encoded_packets += 1
                samples = self._encoded_packets * self._encoder.packet_samples
                samples -= self._encoder.pre_skip_samples
                self._delivered_samples = max(0, min(samples, self._stream.sent_samples))
            else:
                self._delivered_samples = self._stream.sent_samples
            if self._markers:
                self._answer_markers()

    def _answer_markers(self, *, all_of_them: bool = False) -> None:
        while self._markers and (all_of_them or self._markers[0][0] < self._delivered_samples):
            _, marker = self._markers.popleft()
            self._emit(Output(notice=MarkerReached(marker, self._received_ms, self._sent_ms)))

    def _finish(self) -> None:
        self._answer_markers(all_of_them=True)
        self._say_unsaid(0.0)
        if self._last_word is not None:
            self._emit(Output(error=self._last_word))
        self._finished = True
        self._arrived.set()
        self._room.set()

    def _warn(self, code: WarningCode, message: str) -> None:
        """Queue a warning, but no more than one a second and code."""
        now = self._clock()
        if now - self._warned_at.get(code, float("-inf")) < WARNING_INTERVAL_S:
            self._unsaid[code] = message
            return
        self._warned_at[code] = now
        self._unsaid.pop(code, None)
        self._emit(Output(notice=Warned(code, message, self._silenced_ms)))

    def _say_unsaid(self, quiet_s: float) -> None:
        """Say the coalesced warnings whose code was not used for ``quiet_s``."""
        now = self._clock()
        for code in [c for c in self._unsaid if now - self._warned_at[c] >= quiet_s]:
            self._warned_at[code] = now
            message = self._unsaid.pop(code)
            self._emit(Output(notice=Warned(code, message, self._silenced_ms)))

    def _emit_audio(self, payload: bytes, completes: Block | None) -> None:
        if not self._outputs and self._send_now(payload):
            self._sent(completes)
            return
        self._queued_s += self._duration_s(payload)
        self._emit(Output(payload, completes=completes))

    def _emit(self, output: Output) -> None:
        self._outputs.append(output)
        self._arrived.set()

    def _duration_s(self, payload: bytes) -> float:
        samples = self._encoder.packet_samples or len(payload) // 2
        return samples / self._stream.rate_out

    def _room_in_s(self, now: float) -> float:
        """Seconds until more input may be read; infinite: when some has been converted or sent."""
        backlog_s = len(self._open) * self._block_s
        if backlog_s >= self._max_buffered_s or self._queued_s >= self._max_buffered_s:
            return math.inf
        if not self._start.realtime or self._started_at is None:
            return 0.0
        stream = self._stream
        elapsed_s = now - self._started_at
        return stream.received_samples / stream.rate_in - elapsed_s - self._max_buffered_s

    async def _wait_for_room(self) -> None:
        """Hold up the reader while too much is buffered or the client is too far ahead."""
        while not self._over and (wait_s := self._room_in_s(self._clock())) > 0:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), None if wait_s == math.inf else wait_s)
        self._room.set()
