"""What a message of audio is made of: one interface for PCM, G.711 and Opus, in and out."""

from __future__ import annotations

from typing import Protocol

from fast_vc_service.audio.g711 import G711Decoder, G711Encoder
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
from fast_vc_service.protocol.limits import ENCODINGS, G711_ENCODINGS, G711_RATES_HZ, Encoding

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
        """Stand in for one lost packet (Opus: as long as the last one; others: nothing)."""
        ...

    def pending_bytes(self) -> int:
        """Return the bytes held back of an unfinished PCM sample; others: 0."""
        ...


class Encoder(Protocol):
    """Turns samples into the messages of one stream; clips full scale, never wraps.

    Attributes:
        pre_skip_samples: Samples at the stream's rate to drop from the start of what a decoder
            makes of the messages; 0 unless Opus.
        packet_samples: Samples a message holds; 0 unless Opus: other messages have any length.
    """

    pre_skip_samples: int
    packet_samples: int

    def encode(self, samples: FloatArray) -> list[bytes]:
        """Encode ``[n]`` samples, any n: one message (none when n is 0), Opus 0..n packets."""
        ...

    def flush(self) -> list[bytes]:
        """End the stream; return the messages that hold what :meth:`encode` has kept back."""
        ...


def make_decoder(
    encoding: Encoding, sample_rate: int, bit_depth: int = 16, frame_ms: float = FRAME_MS
) -> Decoder:
    """Make the decoder of one stream (spec: WebSocket protocol, config).

    Args:
        encoding: ``"PCM"`` (signed little-endian, mono), ``"OPUS"`` (a raw packet a message),
            ``"MULAW"`` or ``"ALAW"`` (G.711, a byte a sample).
        sample_rate: Hz. PCM: 8000 to 48000; Opus: 8000, 12000, 16000, 24000 or 48000; G.711: 8000.
        bit_depth: PCM only: 16, 24 or 32.
        frame_ms: Opus only: duration of a packet lost before the first.

    Raises:
        ValueError: A value out of its range.
        OpusUnavailableError: libopus is not installed.
    """
    if encoding == "OPUS":
        return OpusDecoder(sample_rate, frame_ms)
    if encoding == "PCM":
        _check_pcm(sample_rate)
        return PcmDecoder(bit_depth)
    _check_g711(encoding, sample_rate)
    return G711Decoder(encoding)


def make_encoder(
    encoding: Encoding, sample_rate: int, bitrate: int = 32_000, frame_ms: float = FRAME_MS
) -> Encoder:
    """Make the encoder of one stream (spec: WebSocket protocol, config).

    Args:
        encoding: ``"PCM"`` (int16 little-endian, mono), ``"OPUS"`` (a raw packet a message),
            ``"MULAW"`` or ``"ALAW"`` (G.711, a byte a sample).
        sample_rate: Hz, as for :func:`make_decoder`.
        bitrate: Opus only: bits a second, 6000 to 510000.
        frame_ms: Opus only: duration of a packet, 2.5, 5, 10, 20, 40 or 60.

    Raises:
        ValueError: A value out of its range.
        OpusUnavailableError: libopus is not installed.
    """
    if encoding == "OPUS":
        return OpusEncoder(sample_rate, bitrate, frame_ms)
    if encoding == "PCM":
        _check_pcm(sample_rate)
        return PcmEncoder()
    _check_g711(encoding, sample_rate)
    return G711Encoder(encoding)


def _check_pcm(sample_rate: int) -> None:
    if not MIN_RATE_HZ <= sample_rate <= MAX_RATE_HZ:
        raise ValueError(
            f"sample_rate must be {MIN_RATE_HZ}..{MAX_RATE_HZ} Hz for PCM, got {sample_rate}"
        )


def _check_g711(encoding: str, sample_rate: int) -> None:
    if encoding not in G711_ENCODINGS:
        raise ValueError(f"encoding must be one of {', '.join(ENCODINGS)}, got {encoding!r}")
    if sample_rate not in G711_RATES_HZ:
        raise ValueError(f"sample_rate must be {G711_RATES_HZ[0]} Hz for G.711, got {sample_rate}")
