"""Converted audio as it arrives: decoded, rid of codec delay, counted."""

from __future__ import annotations

from fast_vc_service.audio.codecs import Decoder
from fast_vc_service.contract import FloatArray


class OutputTrack:
    """Decodes the output of one session and cuts it to what belongs to the input.

    Args:
        decoder: Of the output's encoding.
        sample_rate: Hz of the output.
        lead_samples: What this client's own encoder puts in front of the input, at the output's
            rate; the server cannot know of it and converts it.

    Attributes:
        sample_rate: Hz of the output.
        received_ms: Audio received, without the pre-skip: the position on the server's clock.
    """

    def __init__(self, decoder: Decoder, sample_rate: int, *, lead_samples: int = 0) -> None:
        self.sample_rate = sample_rate
        self._decoder = decoder
        self._pre_skip = 0
        self._lead = self._skip = lead_samples
        self._decoded = 0
        self._end: int | None = None

    @property
    def received_ms(self) -> float:  # noqa: D102 (an attribute, told above)
        return max(0, self._decoded - self._pre_skip) * 1e3 / self.sample_rate

    def skip_first(self, samples: int) -> None:
        """Drop what the server's encoder puts in front; to be told before any output."""
        self._pre_skip = samples
        self._skip = self._lead + samples

    def cut_at(self, samples: int) -> None:
        """Let no more than ``samples`` through in all: the rest is padding of Opus packets."""
        self._end = self._skip + samples

    def decode(self, payload: bytes) -> FloatArray:
        """Return the audio ``[n]`` of one message; n may be 0.

        Raises:
            CorruptAudioError: It cannot be decoded.
        """
        samples = self._decoder.decode(payload)
        start = max(0, self._skip - self._decoded)
        stop = None if self._end is None else max(0, self._end - self._decoded)
        self._decoded += len(samples)
        return samples[start:stop]
