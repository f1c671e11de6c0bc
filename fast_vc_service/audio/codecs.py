"""What a message of audio is made of: one interface for PCM and Opus, in and out."""

from __future__ import annotations

from typing import Protocol

from fast_vc_service.audio.opus import (
    FRAME_MS,
    CorruptAudioError,
    OpusDecoder,
    OpusEncoder,
    OpusUnavailableError,
    opus_available,
)
from fast_vc_service.audio.pcm import PcmDecoder, PcmEncoder
from fast_vc_service.audio.resample import MAX_RATE_HZ, MIN_RATE_HZ
from fast_vc_service.contract import FloatArray
from fast_vc_service.protocol.limits import Encoding

__all__ = [
    "CorruptAudioError",
    "Decoder",
    "Encoder",
    "OpusUnavailableError",
    "make_decoder",
    "make_encoder",
    "opus_available",
]


class Decoder(Protocol):
    """Turns the messages of one stream into finite mono samples within [-1, 1]."""

    def decode(self, payload: bytes) -> FloatArray:
        """Decode one message to ``[n]`` samples at the stream's rate.

        Raises:
            CorruptAudioError: Opus only: the packet cannot be decoded; the next one may be.
        """
        ...

    def conceal(self) -> FloatArray:
        """Stand in for one lost packet (Opus: as long as the last one; PCM: nothing)."""
        ...

    def pending_bytes(self) -> int:
        """Return the bytes held back of an unfinished PCM sample; Opus: 0."""
        ...


class Encoder(Protocol):
    """Turns samples into the messages of one stream; clips full scale, never wraps.

    Attributes:
        pre_skip_samples: Samples at the stream's rate to drop from the start of what a decoder
            makes of the messages; 0 for PCM.
        packet_samples: Samples a message holds; 0 for PCM, whose messages have any length.
    """

    pre_skip_samples: int
    packet_samples: int

    def encode(self, samples: FloatArray) -> list[bytes]:
        """Encode ``[n]`` samples, any n: PCM one message (none when n is 0), Opus 0..n packets."""
        ...

    def flush(self) -> list[bytes]:
        """End the stream; return the messages that hold what :meth:`encode` has kept back."""
        ...


def make_decoder(
    encoding: Encoding, sample_rate: int, bit_depth: int = 16, frame_ms: float = FRAME_MS
) -> Decoder:
    """Make the decoder of one stream (spec: WebSocket protocol, config).

    Args:
        encoding: ``"PCM"`` (signed little-endian, mono) or ``"OPUS"`` (a raw packet a message).
        sample_rate: Hz. PCM: 8000 to 48000; Opus: 8000, 12000, 16000, 24000 or 48000.
        bit_depth: PCM only: 16, 24 or 32.
        frame_ms: Opus only: duration of a packet lost before the first.

    Raises:
        ValueError: A value out of its range.
        OpusUnavailableError: libopus is not installed.
    """
    if encoding == "OPUS":
        return OpusDecoder(sample_rate, frame_ms)
    _check_pcm(encoding, sample_rate)
    return PcmDecoder(bit_depth)


def make_encoder(
    encoding: Encoding, sample_rate: int, bitrate: int = 32_000, frame_ms: float = FRAME_MS
) -> Encoder:
    """Make the encoder of one stream (spec: WebSocket protocol, config).

    Args:
        encoding: ``"PCM"`` (int16 little-endian, mono) or ``"OPUS"`` (a raw packet a message).
        sample_rate: Hz, as for :func:`make_decoder`.
        bitrate: Opus only: bits a second, 6000 to 510000.
        frame_ms: Opus only: duration of a packet, 2.5, 5, 10, 20, 40 or 60.

    Raises:
        ValueError: A value out of its range.
        OpusUnavailableError: libopus is not installed.
    """
    if encoding == "OPUS":
        return OpusEncoder(sample_rate, bitrate, frame_ms)
    _check_pcm(encoding, sample_rate)
    return PcmEncoder()


def _check_pcm(encoding: str, sample_rate: int) -> None:
    if encoding != "PCM":
        raise ValueError(f"encoding must be PCM or OPUS, got {encoding!r}")
    if not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        raise ValueError(
            f"sample_rate must be {MIN_RATE_HZ}..{MAX_RATE_HZ} Hz for PCM, got {sample_rate}"
        )
