"""G.711, the coding of telephone lines: a byte a sample at 8 kHz, as mu-law or A-law.

ITU-T Rec. G.711 (11/88): a byte holds a sign, one of eight segments and one of sixteen steps of it.
Both ways are tables: 256 values of the bytes, and the byte of each 16-bit sample.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from fast_vc_service.audio.pcm import to_int16
from fast_vc_service.contract import FloatArray

Law = Literal["MULAW", "ALAW"]

_BIAS = 33
"""What mu-law adds to a magnitude of 14 bits, so that its segments begin at powers of two."""

_EVEN_BITS = 0x55
"""A-law inverts these bits of what is sent."""

_LAST_INT16 = 32_767


def _values(law: Law) -> npt.NDArray[np.int32]:
    """The 16-bit sample of each byte [256] (tables 1a to 2b, left-justified)."""
    sent = np.arange(256)
    coded = ~sent & 0xFF if law == "MULAW" else sent ^ _EVEN_BITS
    segment, step = coded >> 4 & 7, coded & 15
    if law == "MULAW":
        magnitude = (((2 * step + _BIAS) << segment) - _BIAS) << 2
        negative = coded & 0x80 > 0
    else:
        linear = 2 * step + 1 << 4 - 1
        magnitude = np.where(segment == 0, linear, (2 * step + 33 << 3) << segment.clip(1) - 1)
        negative = coded & 0x80 == 0
    return np.where(negative, -magnitude, magnitude).astype(np.int32)


@cache
def _decoded(law: Law) -> FloatArray:
    """The sample [256] of each byte."""
    return np.asarray(_values(law) / 2.0**15, np.float32)


@cache
def _encoded(law: Law) -> npt.NDArray[np.uint8]:
    """The byte [65536] of each 16-bit sample, negative ones from 32768 on.

    A sample is coded by its sign and the segment and step that its magnitude lies in: the largest
    decision value that is not above it.
    """
    magnitudes = np.arange(_LAST_INT16 + 2)
    if law == "MULAW":
        biased = (magnitudes >> 2).clip(max=8158) + _BIAS
        segment = np.floor(np.log2(biased)).astype(np.int64) - 5
        coded = segment << 4 | (biased >> segment + 1) & 15
    else:
        linear = (magnitudes >> 4).clip(max=2047)
        segment = (np.floor(np.log2(linear.clip(1))).astype(np.int64) - 3).clip(0)
        coded = segment << 4 | (linear >> (segment - 1).clip(0)) & 15
    samples = np.arange(1 << 16).astype(np.uint16).astype(np.int16).astype(np.int64)
    if law == "MULAW":
        sent = ~(coded[np.abs(samples)] | (samples < 0) << 7)
    else:
        # Table 1b: the lowest negative segment begins below zero, so one less is coded.
        below = coded[(-samples - 1).clip(0)]
        sent = np.where(samples >= 0, coded[samples.clip(0)] | 0x80, below) ^ _EVEN_BITS
    return np.asarray(sent & 0xFF, np.uint8)


class G711Decoder:
    """Decodes bytes, cut into messages anywhere, to samples at 8 kHz."""

    def __init__(self, law: Law) -> None:
        self._values = _decoded(law)

    def decode(self, payload: bytes) -> FloatArray:
        """Return the samples ``[n]`` of n bytes; never raises."""
        return self._values[np.frombuffer(payload, np.uint8)]

    def conceal(self) -> FloatArray:
        """Return nothing: an empty message stands for no lost audio."""
        return np.zeros(0, np.float32)

    def pending_bytes(self) -> int:
        """Return 0: every byte is a sample."""
        return 0


class G711Encoder:
    """Encodes float samples at 8 kHz, clipped to full scale, a byte each.

    Attributes:
        pre_skip_samples: Always 0.
        packet_samples: Always 0.
    """

    pre_skip_samples = 0
    packet_samples = 0

    def __init__(self, law: Law) -> None:
        self._bytes = _encoded(law)

    def encode(self, samples: FloatArray) -> list[bytes]:
        """Return one message with all of ``samples`` ``[n]``; none when n is 0."""
        if not len(samples):
            return []
        return [self._bytes[to_int16(samples).view(np.uint16)].tobytes()]

    def flush(self) -> list[bytes]:
        """Return nothing: no sample is held back."""
        return []
