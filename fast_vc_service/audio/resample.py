"""Sample-rate conversion: a low-latency streaming resampler for calls, soxr for whole clips."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np
import numpy.typing as npt
import soxr

from fast_vc_service.audio.high_pass import LatestSamples
from fast_vc_service.contract import FloatArray
from fast_vc_service.protocol.limits import PCM_RATES_HZ

MIN_RATE_HZ, MAX_RATE_HZ = PCM_RATES_HZ

REACH_S = 0.002
"""Seconds of input the kernel reaches to either side of an output sample: the look-ahead."""

TRANSITION_HZ = 600
"""Half the width of the transition band, centred on the Nyquist frequency of the lower rate."""

STOPBAND_DB = 70.0
"""Attenuation beyond the transition band."""

_EDGE_S = 0.1  # of what goes on behind a clip; soxr's own filters are far shorter
_KAISER_BETA = 0.1102 * (STOPBAND_DB + 3.0 - 8.7)
_TAP_QUANTUM = 16
_MAX_EXACT_PHASES = 640
_INTERPOLATED_PHASES = 512
_OUTPUTS_AT_ONCE = 1_024
_STEPS = np.arange(_OUTPUTS_AT_ONCE)


class StreamResampler:
    """Stateful polyphase FIR (Kaiser-windowed sinc, linear phase) from one rate to another.

    Output sample m sits at input time ``m * rate_in / rate_out`` and is emitted as soon as the
    input it depends on has arrived; there is no start-up silence. Positions are integers, so
    nothing drifts. Every output sample is one dot product of fixed length: the result is the same
    bit for bit however the input is cut (design, law 1).

    With ``nyquist`` half the lower rate: flat within 0.01 dB up to ``nyquist - 600 Hz``
    (:data:`TRANSITION_HZ`); from ``nyquist + 600 Hz`` on, aliases and images are at least 70 dB
    down (:data:`STOPBAND_DB`), so the pass-band holds none above that. Output may overshoot the
    input's peak, as any band-limited signal does; it is not clipped here.

    A stream begins as though its first sample had stood there before: an offset makes no step.

    Equal rates pass through. ``copy.copy`` gives an independent resampler in the same state.

    Args:
        rate_in: Hz, an integer from 8000 to 48000.
        rate_out: Hz, an integer from 8000 to 48000.

    Attributes:
        lookahead_s: Seconds by which output trails input; at most 0.002, 0 at equal rates.

    Raises:
        ValueError: A rate is out of range.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        for name, rate in (("rate_in", rate_in), ("rate_out", rate_out)):
            if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
                raise ValueError(
                    f"{name} must be {MIN_RATE_HZ}..{MAX_RATE_HZ} Hz, got {rate}; "
                    "use resample() for other rates"
                )
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._begun = self._ended = False
        self._kernel = None if rate_in == rate_out else _kernel(rate_in, rate_out)
        self.lookahead_s = 0.0
        # The buffer starts with the window of the next output; _phase is that output's place
        # between two input samples, in units of 1 / up. Arrays are replaced, never written to.
        self._buffer: FloatArray = np.zeros(0, np.float32)
        self._phase = 0
        if self._kernel is not None:
            self.lookahead_s = self._kernel.reach / rate_in
            self._buffer = np.zeros(self._kernel.taps - 1 - self._kernel.reach, np.float32)

    def push(self, x: FloatArray) -> FloatArray:
        """Take input ``[n]``, any n; return the output samples that are now complete.

        Raises:
            RuntimeError: The stream was flushed.
        """
        if self._ended:
            raise RuntimeError("push() after flush(); use a new StreamResampler")
        if self._kernel is None:
            return np.array(x, np.float32)
        if not self._begun and len(x):
            self._begun = True
            self._buffer = np.full_like(self._buffer, x[0])
        return self._advance(self._kernel, x)

    def flush(self) -> FloatArray:
        """End the stream and return the rest.

        The outputs of all calls together are ``ceil(n * rate_out / rate_in)`` samples for n input
        samples. A second flush returns nothing.
        """
        if self._ended or self._kernel is None:
            self._ended = True
            return np.zeros(0, np.float32)
        self._ended = True
        return self._advance(self._kernel, np.zeros(self._kernel.reach, np.float32))

    def _advance(self, kernel: _Kernel, x: FloatArray) -> FloatArray:
        buffer = np.concatenate((self._buffer, x), dtype=np.float32)
        windows = len(buffer) - kernel.taps + 1
        count = max(0, -((self._phase - windows * kernel.up) // kernel.down))
        output = np.empty(count, np.float32)
        start, phase = 0, self._phase
        for first in range(0, count, _OUTPUTS_AT_ONCE):
            piece = output[first : first + _OUTPUTS_AT_ONCE]
            kernel.apply(buffer[start:], phase, piece)
            whole, phase = divmod(phase + len(piece) * kernel.down, kernel.up)
            start += whole
        self._buffer = buffer[start:].copy()
        self._phase = phase
        # Denormals would slow down every later stage.
        output[np.abs(output) < np.finfo(np.float32).tiny] = 0.0
        return output


class ClipResampler:
    """Resamples a clip of any rate piece by piece with soxr (high quality, linear phase).

    Outputs are aligned with the input. At both ends the clip is taken to go on with what lies
    below speech in it, so that an offset or a hum makes no click there.

    Args:
        rate_in: Hz.
        rate_out: Hz.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._soxr = None
        if rate_in != rate_out:
            self._soxr = soxr.ResampleStream(rate_in, rate_out, 1, quality="HQ")
        self._received = self._sent = 0
        self._offset = np.float32(0.0)
        self._latest = LatestSamples(rate_in)

    def push(self, x: FloatArray) -> FloatArray:
        """Take ``[n]``, any n; return the output samples that are complete."""
        if self._soxr is None:
            return np.array(x, np.float32)
        if not self._received and len(x):
            # Taken away before and given back behind: soxr hears no step at the first sample.
            self._offset = np.float32(x[0])
        self._received += len(x)
        self._latest.add(x)
        return self._taken(x, last=False)

    def flush(self) -> FloatArray:
        """End the clip; in all there are ``floor(n * rate_out / rate_in + 1/2)`` samples."""
        if self._soxr is None or not self._received:
            return np.zeros(0, np.float32)
        count = round(_EDGE_S * self.rate_in)
        return self._taken(self._latest.continuation(count), last=True)

    def _taken(self, x: FloatArray, *, last: bool) -> FloatArray:
        assert self._soxr is not None  # noqa: S101 - for the type checker
        shifted = np.ascontiguousarray(x - self._offset, np.float32)
        out = np.asarray(self._soxr.resample_chunk(shifted, last=last), np.float32) + self._offset
        due = (2 * self._received * self.rate_out + self.rate_in) // (2 * self.rate_in)
        out = out[: due - self._sent]
        self._sent += len(out)
        return out


def resample(x: FloatArray, rate_in: int, rate_out: int) -> FloatArray:
    """Resample a whole clip; see :class:`ClipResampler`.

    Args:
        x: Mono ``[n]``.
        rate_in: Hz.
        rate_out: Hz.

    Returns:
        ``[floor(n * rate_out / rate_in + 1/2)]`` samples, aligned with the input.
    """
    whole = ClipResampler(rate_in, rate_out)
    return np.concatenate((whole.push(x), whole.flush()))


@dataclass(frozen=True)
class _Kernel:
    """Coefficients of one pair of rates, shared by all its streams.

    Attributes:
        up: Output samples per ``down`` input samples, in lowest terms.
        down: See ``up``.
        reach: Input samples after an output's own place that it depends on.
        taps: Length of every dot product.
        bank: ``[up, taps]``, a row a phase; or ``[_INTERPOLATED_PHASES + 1, taps]``, between whose
            rows phases are interpolated when ``up`` is too large for rows of its own.
    """

    up: int
    down: int
    reach: int
    taps: int
    bank: FloatArray

    def apply(self, buffer: FloatArray, phase: int, output: FloatArray) -> None:
        """Fill ``output`` with the outputs whose first window starts at ``buffer[0]``."""
        steps = _STEPS[: len(output)] * self.down + phase
        starts = steps // self.up
        phases = steps - starts * self.up
        # A view of all windows, [windows, taps]; as_strided does the same at ten times the cost.
        views: FloatArray = np.ndarray(
            (len(buffer) - self.taps + 1, self.taps), np.float32, buffer, 0, buffer.strides * 2
        )
        windows = views[starts]
        # vecdot makes one dot product a row: the order of its operations depends on `taps` alone,
        # where a matrix product would choose it by the number of rows.
        if len(self.bank) == self.up:
            np.vecdot(windows, self.bank.take(phases, 0), out=output)
            return
        scaled = phases * _INTERPOLATED_PHASES
        rows = scaled // self.up
        between = ((scaled - rows * self.up) / self.up).astype(np.float32)
        low = np.vecdot(windows, self.bank.take(rows, 0))
        high = np.vecdot(windows, self.bank.take(rows + 1, 0))
        np.add(low, between * (high - low), out=output)


@lru_cache(maxsize=64)  # at most half a MiB each: clients choose the rates
def _kernel(rate_in: int, rate_out: int) -> _Kernel:
    common = gcd(rate_in, rate_out)
    up, down = rate_out // common, rate_in // common
    reach = int(REACH_S * rate_in)
    taps = -(-2 * reach // _TAP_QUANTUM) * _TAP_QUANTUM
    fractions: npt.NDArray[np.float64]
    if up <= _MAX_EXACT_PHASES:
        fractions = np.arange(up) / up
    else:
        fractions = np.arange(_INTERPOLATED_PHASES + 1) / _INTERPOLATED_PHASES
    # Distance of each tap from the output sample, in input samples: [phases, taps].
    distance = np.arange(taps) - (taps - 1 - reach) - fractions[:, None]
    inside = np.clip(1.0 - (distance / reach) ** 2, 0.0, None)
    window = np.where(inside > 0.0, np.i0(_KAISER_BETA * np.sqrt(inside)), 0.0)
    bank = window * np.sinc(distance * min(1.0, rate_out / rate_in))
    # Every phase has the same gain at 0 Hz, so a constant has no images.
    bank /= bank.sum(axis=1, keepdims=True)
    return _Kernel(up, down, reach, taps, bank.astype(np.float32))
