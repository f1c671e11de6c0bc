"""What is counted and timed of one session, for its ``complete`` and for the service's metrics."""

from __future__ import annotations

from collections.abc import Callable

from fast_vc_service.audio.codecs import Encoder
from fast_vc_service.engine.stream import Stream
from fast_vc_service.protocol.messages import Complete
from fast_vc_service.sessions.observer import BlockTimes, Observer
from fast_vc_service.sessions.outbox import Block
from fast_vc_service.sessions.report import Histogram


class SessionStatistics:
    """Counts for one session.

    Args:
        stream: Counts the samples.
        encoder: Says how samples become packets.
        block_s: Seconds of audio a block.
        observer: Receives measurements as well.
        clock: Monotonic seconds.

    Attributes:
        delivered_samples: Output samples that were encoded so far, at the output rate.
    """

    def __init__(
        self,
        stream: Stream,
        encoder: Encoder,
        block_s: float,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self._stream = stream
        self._encoder = encoder
        self._block_s = block_s
        self._observer = observer
        self._clock = clock
        self._packets = 0
        self.delivered_samples = 0
        self._silenced_blocks = 0
        self._late_by_client = 0
        self._latency_s = Histogram()
        self._rtf = Histogram()
        self._decode_s = 0.0
        self._resample_in_s = 0.0

    @property
    def received_ms(self) -> float:
        """Audio received."""
        return self._stream.received_samples / self._stream.rate_in * 1e3

    @property
    def sent_ms(self) -> float:
        """Audio encoded to be sent."""
        return self.delivered_samples / self._stream.rate_out * 1e3

    @property
    def silenced_ms(self) -> float:
        """Audio that silence stands for."""
        return self._silenced_blocks * self._block_s * 1e3

    @property
    def late_by_client_ms(self) -> float:
        """Audio that silence stands for because the client had stalled."""
        return self._late_by_client * self._block_s * 1e3

    def took_in(self, decode_s: float, resample_s: float) -> None:
        """Count what decoding and resampling a piece of input took."""
        self._decode_s += decode_s
        self._resample_in_s += resample_s

    def input_times(self) -> BlockTimes:
        """Return what the input of a block took that is now whole."""
        times: BlockTimes = {"decode": self._decode_s, "resample_in": self._resample_in_s}
        self._decode_s = self._resample_in_s = 0.0
        return times

    def stepped(self, step_s: float) -> None:
        """Count a block that was converted in a step of ``step_s`` wall seconds."""
        self._rtf.add(step_s / self._block_s)

    def silenced(self, *, by_client: bool) -> None:
        """Count a block that silence stands for, and whether the client had stalled."""
        self._silenced_blocks += 1
        self._late_by_client += by_client
        self._observer.late(1)

    def encoded(self) -> None:
        """Count a payload: with it more of the output can be heard."""
        encoder = self._encoder
        if encoder.packet_samples:
            self._packets += 1
            samples = self._packets * encoder.packet_samples - encoder.pre_skip_samples
            self.delivered_samples = max(0, min(samples, self._stream.sent_samples))
        else:
            self.delivered_samples = self._stream.sent_samples

    def sent(self, completes: Block | None) -> None:
        """Count audio that was handed to the transport."""
        if completes is not None:
            now = self._clock()
            latency_s = now - completes.received_at
            self._latency_s.add(latency_s)
            completes.times["send"] = now - completes.queued_at
            completes.times["total"] = latency_s
            self._observer.block(completes.times)

    def complete(self, concealed_s: float, source_f0_hz: float | None) -> Complete:
        """Sum the session up (spec: ``complete.stats``).

        Args:
            concealed_s: Seconds of audio made up for packets that were lost or broken.
            source_f0_hz: Register of the speaker as learned.
        """
        latency = self._latency_s.summary(scale=1e3)
        rtf = self._rtf.summary()
        blocks = self._stream.blocks_accepted
        return Complete(
            total_processed_ms=min(blocks * self._block_s * 1e3, self.received_ms),
            chunks_processed=blocks,
            average_latency_ms=latency["mean"] or 0.0,
            received_ms=self.received_ms,
            sent_ms=self.sent_ms,
            sent_samples=self.delivered_samples,
            silenced_ms=self.silenced_ms,
            concealed_ms=concealed_s * 1e3,
            latency_p50_ms=latency["median"] or 0.0,
            latency_p95_ms=latency["p95"] or 0.0,
            latency_p99_ms=latency["p99"] or 0.0,
            real_time_factor=rtf,
            is_real_time=(rtf["p95"] is None or rtf["p95"] < 1) and self.silenced_ms == 0,
            source_f0_hz=source_f0_hz,
        )
