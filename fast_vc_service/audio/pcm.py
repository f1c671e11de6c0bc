"""Signed little-endian PCM to float samples and back."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from fast_vc_service.contract import FloatArray

BitDepth = Literal[16, 24, 32]


def to_int16(samples: FloatArray) -> npt.NDArray[np.int16]:
    """Round float samples ``[n]`` to 16-bit PCM: full scale is clipped, NaN becomes 0."""
    scaled = np.clip(np.asarray(samples, np.float32), -1.0, 1.0)
    scaled[np.isnan(scaled)] = 0.0
    scaled *= np.float32(32_768.0)
    return np.minimum(np.rint(scaled), np.float32(32_767.0)).astype(np.int16)


class PcmDecoder:
    """Decodes a PCM byte stream cut into messages anywhere, even within a sample.

    Args:
        bit_depth: 16, 24 or 32.

    Raises:
        ValueError: Another bit depth.
    """

    def __init__(self, bit_depth: int = 16) -> None:
        if bit_depth not in get_args(BitDepth):
            raise ValueError(f"bit_depth must be 16, 24 or 32, got {bit_depth}")
        self._width = bit_depth // 8
        self._rest = b""

    def decode(self, payload: bytes) -> FloatArray:
        """Return the samples ``[n]`` completed by ``payload``; never raises."""
        data = self._rest + payload if self._rest else payload
        whole = len(data) - len(data) % self._width
        self._rest = bytes(data[whole:])
        raw = np.frombuffer(data, np.uint8, whole)
        if self._width == 2:
            return raw.view("<i2").astype(np.float32) * np.float32(2.0**-15)
        if self._width == 3:
            # Each sample becomes the upper three bytes of a 32-bit one.
            wide = np.zeros((whole // 3, 4), np.uint8)
            wide[:, 1:] = raw.reshape(-1, 3)
            raw = wide.reshape(-1)
        return raw.view("<i4").astype(np.float32) * np.float32(2.0**-31)

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
    """

    pre_skip_samples = 0

    def encode(self, samples: FloatArray) -> list[bytes]:
        """Return one message with all of ``samples`` ``[n]``; none when n is 0."""
        return [to_int16(samples).astype("<i2", copy=False).tobytes()] if len(samples) else []

    def flush(self) -> list[bytes]:
        """Return nothing: no sample is held back."""
        return []
