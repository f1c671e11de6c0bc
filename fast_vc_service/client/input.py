"""Audio on its way to the service: encoded, and counted as the server counts it."""

from __future__ import annotations

import math

import numpy as np

from fast_vc_service.audio.codecs import Encoder
from fast_vc_service.contract import FloatArray


class InputTrack:
    """Encodes the input of one session and counts what was given and what went out.

    Args:
        encoder: Of the input's encoding.
        sample_rate: Hz of the input.

    Attributes:
        sent_ms: Audio in the messages that were counted by :meth:`count`.
    """

    def __init__(self, encoder: Encoder, sample_rate: int) -> None:
        self._encoder = encoder
        self._sample_rate = sample_rate
        self._given = 0
        self._sent = 0

    @property
    def sent_ms(self) -> float:  # noqa: D102 (an attribute, told above)
        return self._sent * 1e3 / self._sample_rate

    def encode(self, samples: FloatArray) -> list[bytes]:
        """Return the messages that ``samples`` ``[n]`` complete."""
        self._given += len(samples)
        return self._encoder.encode(samples)

    def flush(self) -> list[bytes]:
        """End the input; return the messages that hold what :meth:`encode` has kept back."""
        return self._encoder.flush()

    def silence(self, least_ms: float) -> FloatArray:
        """Return zeros ``[n]``: ``least_ms``, the encoder's own delay, and a packet filled up."""
        least = math.ceil(least_ms * self._sample_rate / 1e3) + self._encoder.pre_skip_samples
        packet = self._encoder.packet_samples
        filling = -(self._given + least) % packet if packet else 0
        return np.zeros(least + filling, np.float32)

    def count(self, payload: bytes) -> None:
        """Count a message that goes out."""
        self._sent += self._encoder.packet_samples or len(payload) // 2

    def lead_samples(self, rate_out: int) -> int:
        """Return what the encoder puts in front of the input, in samples at ``rate_out``."""
        return self._encoder.pre_skip_samples * rate_out // self._sample_rate

    def converted_samples(self, rate_out: int) -> int:
        """Return the samples at ``rate_out`` that the server makes of what was given so far."""
        # floor(n * out / in + 1/2)
        return (2 * self._given * rate_out + self._sample_rate) // (2 * self._sample_rate)
