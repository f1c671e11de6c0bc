"""Signed little-endian PCM to float samples and back."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fast_vc_service.contract import FloatArray
from fast_vc_service.protocol.limits import BIT_DEPTHS

_INT16 = np.dtype("<i2")
# Arrays without dimensions: a scalar would be made one anew in every operation.
_INT16_SCALE = np.array(2.0**15, np.float32)
_HIGHEST_INT16 = np.array(1 - 2.0**-15, np.float32)
_HIGHEST, _LOWEST = np.array(1.0, np.float32), np.array(-1.0, np.float32)
_STEPS: dict[int, tuple[np.dtype[np.int16] | np.dtype[np.int32], FloatArray]] = {
    2: (_INT16, np.array(2.0**-15, np.float32)),
    3: (np.dtype("<i4"), np.array(2.0**-31, np.float32)),
    4: (np.dtype("<i4"), np.array(2.0**-31, np.float32)),
}
"""Bytes of a sample: the integers they are read as, and the value of one step of those."""


def clip(samples: FloatArray) -> FloatArray:
    """Return a copy of ``samples`` (any shape) clipped to [-1, 1]; NaN stays."""
    # Half the time that numpy's clip takes for a block.
    clipped: FloatArray = np.maximum(samples, _LOWEST)
    return np.minimum(clipped, _HIGHEST, out=clipped)


def limit(samples: FloatArray) -> FloatArray:
    """Return a copy of ``samples`` (any shape) clipped to [-1, 1], NaN replaced by 0."""
    limited = clip(np.asarray(samples, np.float32))
    _nan_to_zero(limited)
    return limited


def _nan_to_zero(samples: FloatArray) -> None:
    flat = samples.reshape(-1)
    # Their energy shows whether any is NaN, at a third of the cost of looking for it.
    if math.isnan(flat.dot(flat)):
        samples[np.isnan(samples)] = 0.0


def to_int16(samples: FloatArray) -> npt.NDArray[np.int16]:
    """Round samples ``[n]`` to little-endian 16-bit PCM: full scale is clipped, NaN becomes 0."""
    scaled: FloatArray = np.maximum(np.asarray(samples, np.float32), _LOWEST)
    np.minimum(scaled, _HIGHEST_INT16, out=scaled)
    scaled *= _INT16_SCALE
    np.rint(scaled, out=scaled)
    _nan_to_zero(scaled)
    return scaled.astype(_INT16)


class PcmDecoder:
    """Decodes a PCM byte stream cut into messages anywhere, even within a sample.

    Args:
        bit_depth: 16, 24 or 32.

    Raises:
        ValueError: Another bit depth.
    """

    def __init__(self, bit_depth: int = 16) -> None:
        if bit_depth not in BIT_DEPTHS:
            raise ValueError(f"bit_depth must be 16, 24 or 32, got {bit_depth}")
        self._width = bit_depth // 8
        self._dtype, self._step = _STEPS[self._width]
        self._rest = b""

    def decode(self, payload: bytes) -> FloatArray:
        """Return the samples ``[n]`` completed by ``payload``; never raises."""
        data = self._rest + payload if self._rest else payload
        count, partial = divmod(len(data), self._width)
        self._rest = bytes(data[-partial:]) if partial else b""
        if self._width == 3:
            # Each sample becomes the upper three bytes of a 32-bit one.
            wide = np.zeros((count, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8, 3 * count).reshape(-1, 3)
            data = wide.tobytes()
        raw: npt.NDArray[np.int16 | np.int32] = np.frombuffer(data, self._dtype, count)
        samples: FloatArray = raw.astype(np.float32)
        samples *= self._step
        return samples

    def conceal(self) -> FloatArray:
        """Return nothing: an empty PCM message stands for no lost audio."""
        return np.zeros(0, np.float32)

    def pending_bytes(self) -> int:
        """Return how many bytes of an unfinished sample wait for the next message."""
        return len(self._rest)


class PcmEncoder:
    """Encodes float samples as 16-bit little-endian PCM.

    Attributes:
        pre_skip_samples: Always 0.
        packet_samples: Always 0.
    """

    pre_skip_samples = 0
    packet_samples = 0

    def encode(self, samples: FloatArray) -> list[bytes]:
        """Return one message with all of ``samples`` ``[n]``; none when n is 0."""
        return [to_int16(samples).tobytes()] if len(samples) else []

    def flush(self) -> list[bytes]:
        """Return nothing: no sample is held back."""
        return []
