"""One session's sample accounting: client audio in, exact blocks out, exact output back.

A :class:`Stream` has no thread, no clock and no network; it cuts and counts. Whoever drives it
(a session through the scheduler, or :func:`pump` in a loop) converts the blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from fast_vc_service.audio.high_pass import LatestSamples
from fast_vc_service.audio.pcm import clip
from fast_vc_service.audio.resample import StreamResampler
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, FloatArray, Voice, block_out


class BlockQueue:
    """Pieces of audio of any length in, blocks of one length out.

    Args:
        size: Samples a block.

    Attributes:
        added: Samples that were added.
        taken: Blocks that were taken.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.added = 0
        self.taken = 0
        self._pieces: deque[FloatArray] = deque()
        self._waiting = 0

    def __len__(self) -> int:
        """Samples that wait to be taken."""
        return self._waiting

    def add(self, samples: FloatArray) -> None:
        """Append ``samples`` ``[n]``."""
        if len(samples):
            self._pieces.append(samples)
            self._waiting += len(samples)
            self.added += len(samples)

    def take(self) -> FloatArray | None:
        """Return the next block ``[size]``, or None while it is incomplete."""
        if self._waiting < self.size:
            return None
        self._waiting -= self.size
        self.taken += 1
        if len(self._pieces[0]) == self.size:
            return self._pieces.popleft()
        block = np.empty(self.size, np.float32)
        filled = 0
        while filled < self.size:
            piece = self._pieces.popleft()
            room = self.size - filled
            if len(piece) > room:
                self._pieces.appendleft(piece[room:])
                piece = piece[:room]
            block[filled : filled + len(piece)] = piece
            filled += len(piece)
        return block


class Stream:
    """Cuts a client's audio into converter blocks and puts the answers back in place.

    Counts every sample: after :meth:`end` the output has exactly ``floor(n * out / in + 1/2)``
    samples for ``n`` input samples (design, law 3), aligned with the input. The converter's delay
    and the zero padding of the last block are cut here, nowhere else.

    Args:
        converter: Gives the geometry; the stream never calls it.
        rate_in: Hz of the audio pushed.
        rate_out: Hz of the audio returned.
        trim_delay: False puts :attr:`delay_samples` of silence in front of the output.
        codec_delay_s: Seconds the codecs around the stream add; part of :attr:`delay_ms`.
    """

    def __init__(
        self,
        converter: Converter,
        *,
        rate_in: int,
        rate_out: int,
        trim_delay: bool = True,
        codec_delay_s: float = 0.0,
    ) -> None:
        self.rate_in = rate_in
        self.rate_out = rate_out
        self.received_samples = 0
        self.sent_samples = 0
        self.blocks_accepted = 0
        self._block_out = block_out(converter)
        self._resample_in = StreamResampler(rate_in, SAMPLE_RATE_IN)
        self._resample_out = StreamResampler(converter.sample_rate_out, rate_out)
        self._delay = converter.delay
        self._surplus = converter.delay * converter.sample_rate_out // SAMPLE_RATE_IN
        self._latest = LatestSamples(rate_in)
        self._blocks = BlockQueue(converter.block)
        self._ended = False
        self.delay_ms = 1e3 * (
            converter.delay / SAMPLE_RATE_IN
            + self._resample_in.lookahead_s
            + self._resample_out.lookahead_s
            + codec_delay_s
        )
        self._lead = 0 if trim_delay else self.delay_samples

    @property
    def block(self) -> int:
        """Samples at 16 kHz a block."""
        return self._blocks.size

    @property
    def blocks_taken(self) -> int:
        """Blocks that were taken to be converted."""
        return self._blocks.taken

    @property
    def delay_samples(self) -> int:
        """Samples at the output's rate by which output trails input, the block not counted."""
        return round(self.delay_ms * self.rate_out / 1e3)

    @property
    def ended(self) -> bool:
        """True once :meth:`end` was called."""
        return self._ended

    @property
    def done(self) -> bool:
        """True when the input has ended and its whole output was returned."""
        return self._ended and self.sent_samples == self.total_samples

    @property
    def total_samples(self) -> int:
        """Output samples that the input received so far amounts to, lead-in included."""
        if not self.received_samples:
            return 0
        return self._lead + self._scaled(self.received_samples)

    def push(self, samples: FloatArray) -> None:
        """Take client audio ``[n]`` at ``rate_in``, any n.

        Raises:
            RuntimeError: The stream has already ended.
        """
        if self._ended:
            raise RuntimeError("push() after end()")
        self.received_samples += len(samples)
        self._latest.add(samples)
        self._blocks.add(self._resample_in.push(samples))

    def end(self) -> None:
        """End the input: what is buffered is padded to whole blocks.

        An offset or a hum goes on in the padding: its end would be a click, which converters hear
        as far as they look ahead.
        """
        if self._ended:
            return
        self._ended = True
        if not self.received_samples:
            return
        heard = -(-self.received_samples * SAMPLE_RATE_IN // self.rate_in)
        blocks = -(-(heard + self._delay) // self.block)
        missing = blocks * self.block - self._blocks.added
        # The resampler needs as much again as it looks ahead.
        count = -(-missing * self.rate_in // SAMPLE_RATE_IN) + 1
        count += round(self._resample_in.lookahead_s * self.rate_in)
        padding = self._resample_in.push(self._latest.continuation(count))
        self._blocks.add(padding[:missing])

    def take_block(self) -> FloatArray | None:
        """Return the next block ``[block]`` at 16 kHz, or None while it is incomplete."""
        return self._blocks.take()

    def accept(self, converted: FloatArray) -> FloatArray:
        """Take the converter's answer to the oldest open block.

        Args:
            converted: ``[block_out]`` at the converter's output rate.

        Returns:
            The output samples ``[m]`` at ``rate_out`` that can be sent now.

        Raises:
            ValueError: Wrong length.
            RuntimeError: No block is open.
        """
        if len(converted) != self._block_out:
            raise ValueError(f"expected {self._block_out} samples a block, got {len(converted)}")
        if self.blocks_accepted >= self.blocks_taken:
            raise RuntimeError("accept() without a block taken")
        self.blocks_accepted += 1
        if self._surplus:
            cut = min(self._surplus, len(converted))
            self._surplus -= cut
            converted = converted[cut:]
        output = self._resample_out.push(converted)
        if self._ended and not self._blocks and self.blocks_accepted == self.blocks_taken:
            output = np.concatenate([output, self._resample_out.flush()])
        if self._lead and self.blocks_accepted == 1:
            output = np.concatenate([np.zeros(self._lead, np.float32), output])
        clipped = clip(output[: self.total_samples - self.sent_samples])
        self.sent_samples += len(clipped)
        return clipped

    def output_position(self, input_sample: int) -> int:
        """Index of the output sample that carries input sample ``input_sample``."""
        return self._lead - (-input_sample * self.rate_out // self.rate_in)

    def block_at(self, input_sample: int) -> int:
        """Index of the first block that starts at or after input sample ``input_sample``."""
        return -(-input_sample * SAMPLE_RATE_IN // (self.rate_in * self.block))

    def _scaled(self, samples: int) -> int:
        return (2 * samples * self.rate_out + self.rate_in) // (2 * self.rate_in)


def pump(
    stream: Stream, convert: Callable[[FloatArray], FloatArray], chunks: Iterable[FloatArray]
) -> Iterator[FloatArray]:
    """Push ``chunks`` through ``stream`` to its end; yield the output ``[m]`` of each block.

    Args:
        stream: A new one.
        convert: Takes a block ``[block]``, returns its answer ``[block_out]``.
        chunks: Audio ``[n]`` at the stream's input rate, any n.
    """
    for chunk in chunks:
        stream.push(chunk)
        yield from _answers(stream, convert)
    stream.end()
    yield from _answers(stream, convert)


def _answers(stream: Stream, convert: Callable[[FloatArray], FloatArray]) -> Iterator[FloatArray]:
    while (block := stream.take_block()) is not None:
        yield stream.accept(convert(block))


def block_converter(
    converter: Converter,
    voice: Voice,
    pitch_shift: float = 0.0,
    seed: int = 0,
    source_f0_hz: float | None = None,
) -> Callable[[FloatArray], FloatArray]:
    """Return what converts the blocks ``[block]`` of one new session, one after the other."""
    state = converter.new_state(voice, pitch_shift, seed, source_f0_hz)

    def convert(block: FloatArray) -> FloatArray:
        converted: FloatArray = converter.step(block[None], [state])[0]
        return converted

    return convert


def convert_offline(
    converter: Converter,
    voice: Voice,
    audio: FloatArray,
    rate_in: int,
    rate_out: int,
    *,
    pitch_shift: float = 0.0,
    seed: int = 0,
    chunk_samples: int | None = None,
) -> FloatArray:
    """Convert a whole clip through the same Stream that live sessions use.

    Args:
        converter: Any converter, live or file geometry.
        voice: Target voice of the converter's family.
        audio: Mono ``[n]`` at ``rate_in`` Hz.
        rate_in: Hz of ``audio``.
        rate_out: Hz of the result.
        pitch_shift: Semitones.
        seed: Noise seed.
        chunk_samples: Samples that are pushed at a time, which changes nothing; None is a second.

    Returns:
        ``[floor(n * rate_out / rate_in + 1/2)]`` samples.
    """
    stream = Stream(converter, rate_in=rate_in, rate_out=rate_out)
    step = chunk_samples or rate_in
    chunks = (audio[start : start + step] for start in range(0, len(audio), step))
    convert = block_converter(converter, voice, pitch_shift, seed)
    return np.concatenate([np.zeros(0, np.float32), *pump(stream, convert, chunks)])
