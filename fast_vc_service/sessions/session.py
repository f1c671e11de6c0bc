"""One live conversation: decoded audio in, converted audio and notices out.

A :class:`Session` lives on the event loop and knows neither sockets nor wire formats. The edge
feeds it messages and takes :class:`Output` items in order. Work is driven by callbacks: a block
that is ready goes to the scheduler, its result is encoded and queued, the next block follows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable

from loguru import logger

from fast_vc_service.audio.codecs import Decoder, Encoder
from fast_vc_service.contract import SAMPLE_RATE_IN, CannotBlendError, Voice
from fast_vc_service.engine.batching import Result
from fast_vc_service.engine.learned_capacity import Answer
from fast_vc_service.engine.scheduler import Slot
from fast_vc_service.engine.stream import Stream
from fast_vc_service.protocol.codes import WarningCode
from fast_vc_service.protocol.limits import MAX_WAITING_MARKERS, MAX_WAITING_UPDATES
from fast_vc_service.protocol.messages import (
    Complete,
    Marker,
    MarkerReached,
    Notice,
    Update,
    Updated,
    Warned,
)
from fast_vc_service.protocol.opening import Start
from fast_vc_service.protocol.voice_choice import VoiceChoice, as_found
from fast_vc_service.sessions.errors import SessionError, internal_error, model_stopped
from fast_vc_service.sessions.intake import Intake
from fast_vc_service.sessions.observer import Observer
from fast_vc_service.sessions.outbox import Block, Outbox, Output
from fast_vc_service.sessions.pacing import Pacing, SessionLimits
from fast_vc_service.sessions.recorder import Recorder
from fast_vc_service.sessions.statistics import SessionStatistics
from fast_vc_service.sessions.voice_changes import VoiceChanges
from fast_vc_service.sessions.warning_limit import WarningLimit


class Session:
    """One conversation, from its first sample to its last.

    Args:
        start: The validated first message.
        voice: The voice it starts with.
        slot: Its place in the scheduler, with a state; closed by :meth:`close`.
        stream: Its sample accounting.
        decoder: Client bytes to samples.
        encoder: Samples to client bytes.
        find_voice: Looks a voice up for updates; raises ``LookupError`` or ``ValueError``.
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
        find_voice: Callable[[VoiceChoice], Awaitable[Voice]],
        limits: SessionLimits,
        observer: Observer,
        recorder: Recorder | None = None,
        send_now: Callable[[bytes], bool] = lambda _payload: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slot = slot
        self._stream = stream
        self._encoder = encoder
        self._recorder = recorder
        self._clock = clock
        self._open: deque[Block] = deque()
        choice = as_found(start.voice or voice.name, voice.name)
        block_s = stream.block / SAMPLE_RATE_IN
        self._statistics = SessionStatistics(stream, encoder, block_s, observer, clock)
        self._outbox = Outbox(send_now, self._statistics.sent)
        self._pacing = Pacing(
            stream,
            limits,
            realtime=start.realtime,
            converting=self._open,
            outbox=self._outbox,
            clock=clock,
        )
        self._warnings = WarningLimit(self._say_warning, clock)
        self._intake = Intake(start, decoder, self._warnings.warn)
        self._changes = VoiceChanges(voice, choice, start.pitch_shift, find_voice)
        self._markers: deque[tuple[int, str | int]] = deque()
        self._last_word: SessionError | None = None
        self._answered_at = clock()

    # ------------------------------------------------------------------ input

    def feed_now(self, payload: bytes, received_at: float) -> bool:
        """Take one binary message if that can be done at once; else False, and nothing is taken.

        Args:
            payload: PCM bytes, or one Opus packet (empty: a lost one).
            received_at: Monotonic seconds of its receipt.

        Raises:
            SessionError: INVALID_AUDIO after a second of undecodable packets.
        """
        if self._input_is_over():
            return True
        if not self._intake.is_one_piece(payload) or self._pacing.room_in_s(received_at) > 0.0:
            return False
        self._take(payload, received_at, received_at)
        return True

    async def feed(self, payload: bytes, received_at: float) -> None:
        """Take one binary message as there is room for it; arguments as for :meth:`feed_now`.

        What has found no room when the input ends is dropped.

        Raises:
            SessionError: INVALID_AUDIO after a second of undecodable packets.
        """
        taken_at = received_at
        for piece in self._intake.pieces(payload):
            if self._pacing.room_in_s(self._clock()) > 0.0:
                await self._pacing.wait_for_room(self._input_is_over)
                taken_at = self._clock()
            if self._input_is_over():
                return
            self._take(piece, received_at, taken_at)

    def mark(self, marker: Marker) -> None:
        """Answer ``marker`` when the output has come this far."""
        if self._over:
            return
        if len(self._markers) >= MAX_WAITING_MARKERS:
            self.warn(
                WarningCode.TOO_MANY_MARKERS, f"at most {MAX_WAITING_MARKERS} markers may wait"
            )
            return
        position = self._stream.output_position(self._stream.received_samples)
        self._markers.append((position, marker.id))
        self._answer_markers()

    async def update(self, update: Update) -> None:
        """Change voice or pitch from the first block boundary at or after this place."""
        if self._over:
            return
        try:
            voice, choice = await self._changes.find(update)
        except CannotBlendError as error:
            self.warn(WarningCode.INVALID_UPDATE, f"voice: {error}; choose one voice")
            return
        except (LookupError, ValueError) as error:
            self.warn(WarningCode.UNKNOWN_VOICE, str(error))
            return
        index = self._stream.block_at(self._stream.received_samples)
        if not self._changes.add(index, voice, choice, update.pitch_shift):
            self.warn(
                WarningCode.TOO_MANY_UPDATES,
                f"at most {MAX_WAITING_UPDATES} updates may wait: the oldest is not answered",
            )

    def warn(self, code: WarningCode, message: str) -> None:
        """Tell the client of something that was refused and changed nothing."""
        if not self._over:
            self._warnings.warn(code, message)

    def notify(self, notice: Notice) -> None:
        """Queue a notice that is not about this session's audio."""
        if not self._over:
            self._outbox.put_notice(notice)

    def end(self, last_word: SessionError | None = None) -> None:
        """No more input; the rest is converted, then comes ``complete`` (or ``last_word``)."""
        if self._input_is_over():
            return
        self._last_word = last_word
        partial = self._intake.pending_bytes()
        if partial:
            self._warnings.warn(
                WarningCode.PARTIAL_SAMPLE,
                f"{partial} bytes at the end are no whole sample: dropped",
            )
        self._stream.end()
        self._pacing.look_again()
        now = self._clock()
        self._take_blocks(now, now)
        if self._stream.done:
            self._finish()

    def fail(self, error: SessionError) -> None:
        """End at once: what is already converted is still sent, then ``error``."""
        if self._over:
            return
        self._outbox.put_error(error)
        self._outbox.finish()
        self._pacing.look_again()

    def close(self) -> None:
        """Give everything back at once; idempotent."""
        self._slot.close()
        self._outbox.finish()
        self._pacing.look_again()
        if self._recorder is not None:
            self._recorder.close()

    # ----------------------------------------------------------------- output

    async def next_output(self) -> Output | None:
        """Return the next thing to send; None when the session is over and all was taken."""
        return await self._outbox.next()

    def handed_over(self, output: Output) -> None:
        """Count ``output`` as given to the transport."""
        self._outbox.handed_over(output)
        self._pacing.look_again()

    def complete(self) -> Complete:
        """Sum the session up (spec: ``complete.stats``)."""
        return self._statistics.complete(self._intake.concealed_s, self._slot.source_f0_hz)

    @property
    def paced(self) -> bool:
        """True while the session itself holds up the reading of input."""
        return self._pacing.holding and not self._over

    @property
    def late_by_client_ms(self) -> float:
        """That part of :attr:`silenced_ms` that the client had sent too late."""
        return self._statistics.late_by_client_ms

    @property
    def silenced_ms(self) -> float:
        """Audio that silence stands for so far."""
        return self._statistics.silenced_ms

    @property
    def received_ms(self) -> float:
        """Audio received so far."""
        return self._statistics.received_ms

    # ---------------------------------------------------------------- private

    @property
    def _over(self) -> bool:
        return self._outbox.finished

    def _input_is_over(self) -> bool:
        return self._outbox.finished or self._stream.ended

    def _take(self, piece: bytes, received_at: float, taken_at: float) -> None:
        """Decode ``piece``, for which there is room since ``taken_at``, and submit its blocks."""
        if piece:
            self._pacing.begin(received_at)
        started = time.perf_counter()
        samples = self._intake.decode(piece)
        decoded = time.perf_counter()
        self._stream.push(samples)
        self._statistics.took_in(decoded - started, time.perf_counter() - decoded)
        if self._recorder is not None:
            self._recorder.input(samples, self._statistics.received_ms)
        self._take_blocks(received_at, taken_at)

    def _take_blocks(self, received_at: float, taken_at: float) -> None:
        while True:
            index = self._stream.blocks_taken
            samples = self._stream.take_block()
            if samples is None:
                return
            change, updates = self._changes.take(index)
            when = self._pacing.when(index, taken_at)
            times = self._statistics.input_times()
            # The scheduler keeps the order, so results come in it.
            self._open.append(Block(received_at, updates, times, behind=when.behind))
            self._slot.submit(
                samples,
                self._converted,
                deadline=when.deadline,
                late_at=when.late_at,
                change=change,
            )

    def _converted(self, result: Result) -> None:
        if self._over:
            return
        if result.silenced == "lost":
            self.fail(model_stopped())
            return
        block = self._open.popleft()
        self._tell_how_answered(block, result)
        try:
            self._take_result(block, result)
        except Exception:
            logger.exception("a converted block could not be handed on")
            self.fail(internal_error())

    def _tell_how_answered(self, block: Block, result: Result) -> None:
        now = self._clock()
        turn_at, self._answered_at = max(block.received_at, self._answered_at), now
        self._pacing.answered(now)
        # Of a backlog the others go first: how long it takes says nothing of the machine.
        if self._pacing.realtime and not block.behind:
            late = result.silenced == "late"
            self._slot.answered(Answer(now - turn_at, result.step_s, result.stepped, late))

    def _take_result(self, block: Block, result: Result) -> None:
        stream = self._stream
        for voice, pitch_shift in block.updates:
            from_ms = stream.sent_samples / stream.rate_out * 1e3
            self._outbox.put_notice(Updated(voice, pitch_shift, from_ms))
        times = block.times
        times["queue"] = result.queued_s
        if result.silenced is None:
            times["step"] = result.step_s
            self._statistics.stepped(result.step_s)
        else:
            self._silence(result.silenced, behind=block.behind)
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
        self._warnings.say_unsaid()
        self._pacing.look_again()
        if done:
            self._finish()

    def _silence(self, reason: str, *, behind: bool) -> None:
        by_client = behind and reason == "late"
        self._statistics.silenced(by_client=by_client)
        if by_client:
            self._warnings.warn(
                WarningCode.LATE,
                "the client had stalled, and more came at once than could be converted in time: "
                "silence stands for some of it",
            )
        elif reason == "late":
            self._warnings.warn(
                WarningCode.LATE, "the service could not keep up: silence stands for some audio"
            )
        else:
            self._warnings.warn(
                WarningCode.CONVERSION_FAILED,
                "a block could not be converted: silence stands for it",
            )

    def _deliver(self, payloads: list[bytes], block: Block) -> None:
        block.queued_at = self._clock()
        packet, rate = self._encoder.packet_samples, self._stream.rate_out
        for left, payload in enumerate(payloads, 1 - len(payloads)):
            duration_s = (packet or len(payload) // 2) / rate
            self._outbox.put_audio(payload, duration_s, block if left == 0 else None)
            self._statistics.encoded()
            if self._markers:
                self._answer_markers()

    def _answer_markers(self, *, all_of_them: bool = False) -> None:
        counted = self._statistics
        while self._markers and (all_of_them or self._markers[0][0] < counted.delivered_samples):
            _, marker = self._markers.popleft()
            self._outbox.put_notice(MarkerReached(marker, counted.received_ms, counted.sent_ms))

    def _finish(self) -> None:
        self._answer_markers(all_of_them=True)
        self._warnings.say_unsaid(0.0)
        if self._last_word is not None:
            self._outbox.put_error(self._last_word)
        self._outbox.finish()
        self._pacing.look_again()

    def _say_warning(self, code: WarningCode, message: str) -> None:
        self._outbox.put_notice(Warned(code, message, self._statistics.silenced_ms))
