"""Raw Opus packets through opuslib; libopus itself is loaded on first use.

Of opuslib only the bare bindings are used: its classes decode into lists, cannot conceal and do
not bound what a packet may claim.
"""

from __future__ import annotations

import ctypes
import warnings
import weakref
from functools import cache
from typing import Any

import numpy as np

from fast_vc_service.audio.live_mixdown import LiveMixdown
from fast_vc_service.audio.pcm import limit
from fast_vc_service.contract import FloatArray
from fast_vc_service.protocol.limits import BITRATES, OPUS_RATES_HZ

FRAME_MS = 20.0
"""Usual duration of a packet."""

FRAME_DURATIONS_MS = (2.5, 5.0, 10.0, 20.0, 40.0, 60.0)
"""Durations :class:`OpusEncoder` can give its packets."""

_COMPLEXITY = 5
"""Of 0 to 10; half the time of libopus' own choice, 9, since sessions come by the hundred."""

_MAX_PACKET_MS = 120
_STEREO_FLAG = 0x04
"""Of a packet's first byte (RFC 6716, 3.1)."""

_MAX_PACKET_BYTES = 4_000
"""Room for three frames of at most 1275 bytes, which are what a packet of 60 ms holds."""


class CorruptAudioError(ValueError):
    """One packet that cannot be decoded; the decoder stays usable."""


class OpusUnavailableError(RuntimeError):
    """libopus is not installed; the message names the package."""


def opus_available() -> bool:
    """Tell whether Opus can be encoded and decoded here. Looked up once a process."""
    return not isinstance(_load(), OpusUnavailableError)


class OpusDecoder:
    """Decodes raw Opus packets, mono or stereo, to mono at a fixed rate.

    From the first stereo packet on both channels are decoded and mixed down so that no speech is
    lost (:mod:`.live_mixdown`); libopus by itself would add them, and opposite phases cancel.
    A stream of mono packets never comes to that.

    Args:
        sample_rate: Hz to decode to, whatever a packet's own bandwidth; one of
            :data:`OPUS_RATES_HZ`.
        frame_ms: Duration of a packet lost before any has arrived; rounded to what Opus knows.

    Raises:
        ValueError: A rate Opus does not know.
        OpusUnavailableError: libopus is not installed.
    """

    def __init__(self, sample_rate: int, frame_ms: float = FRAME_MS) -> None:
        _check_rate(sample_rate)
        self._sample_rate = sample_rate
        self._longest = sample_rate * _MAX_PACKET_MS // 1_000
        self._mono = _Decoding(sample_rate, 1)
        self._stereo: _Decoding | None = None
        self._mixdown = LiveMixdown(sample_rate)
        self._packet_before = b""
        # Concealment works in steps of 2.5 ms.
        step = sample_rate // 400
        hint = round(frame_ms * sample_rate / 1_000)
        self._last_samples = min(max(hint // step, 1) * step, self._longest)

    def decode(self, payload: bytes) -> FloatArray:
        """Decode one packet to ``[n]`` samples; its own header says how long it lasts.

        Raises:
            CorruptAudioError: The packet is empty, or no Opus packet of at most 120 ms.
        """
        if not payload:
            raise CorruptAudioError("expected an Opus packet, got 0 bytes")
        samples = self._mono.length_of(payload)
        if not 0 < samples <= self._longest:
            raise CorruptAudioError(
                f"expected one raw Opus packet of at most {_MAX_PACKET_MS} ms (no Ogg), "
                f"got {len(payload)} bytes that are none"
            )
        if self._stereo is None and payload[0] & _STEREO_FLAG:
            decoded = self._first_in_stereo(payload, samples)
        else:
            decoded = self._decode(payload, samples)
        self._last_samples, self._packet_before = samples, payload
        return decoded

    def conceal(self) -> FloatArray:
        """Stand in for one lost packet, as long as the last one; fades when called in a row."""
        return self._decode(None, self._last_samples)

    def pending_bytes(self) -> int:
        """Return 0: packets come whole."""
        return 0

    def _decode(self, payload: bytes | None, samples: int) -> FloatArray:
        if self._stereo is None:
            return self._mono.decode(payload, samples)[:, 0]
        return self._mixdown.push(self._stereo.decode(payload, samples))

    def _first_in_stereo(self, payload: bytes, samples: int) -> FloatArray:
        stereo = _Decoding(self._sample_rate, 2)
        if self._packet_before:
            # Decoders begin from nothing: what came before makes it go on without a break.
            before = self._packet_before
            self._mixdown.push(stereo.decode(before, stereo.length_of(before)))
        decoded = stereo.decode(payload, samples)
        self._stereo = stereo
        return self._mixdown.push(decoded)


class _Decoding:
    """A decoder of libopus for one or two channels."""

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._api = _library()
        self._state = self._api.decoder.create_state(sample_rate, channels)
        weakref.finalize(self, self._api.decoder.destroy, self._state)
        self._pcm = np.zeros((sample_rate * _MAX_PACKET_MS // 1_000, channels), np.float32)
        self._pcm_pointer = self._pcm.ctypes.data_as(ctypes.POINTER(ctypes.c_float))

    def length_of(self, payload: bytes) -> int:
        """Samples that a packet says it lasts; not above 0 when it is none."""
        length: int = self._api.decoder.libopus_get_nb_samples(self._state, payload, len(payload))
        return length

    def decode(self, payload: bytes | None, samples: int) -> FloatArray:
        """Return ``[samples, channels]`` within [-1, 1]; None as payload conceals."""
        size = 0 if payload is None else len(payload)
        done = self._api.decoder.libopus_decode_float(
            self._state, payload, size, self._pcm_pointer, samples, 0
        )
        if done != samples:
            raise CorruptAudioError(f"an Opus packet of {size} bytes cannot be decoded")
        decoded = self._pcm[:samples].copy()
        if not np.isfinite(decoded).all():
            # A hostile packet can drive the synthesis filters out of range, for good.
            self._api.decoder.decoder_ctl(self._state, self._api.ctl.reset_state)
            raise CorruptAudioError(f"an Opus packet of {size} bytes decodes to no finite audio")
        return np.clip(decoded, -1.0, 1.0, out=decoded)


class OpusEncoder:
    """Encodes mono audio as raw Opus packets, tuned for speech (VoIP application).

    The decoded packets start :attr:`pre_skip_samples` early; behind that, and cut to as many
    samples as were encoded, they are the input's length exactly.

    Args:
        sample_rate: Hz of the samples; one of :data:`OPUS_RATES_HZ`.
        bitrate: Bits a second on average, 6000 to 510000.
        frame_ms: Duration of a packet; one of :data:`FRAME_DURATIONS_MS`.

    Attributes:
        pre_skip_samples: The codec's delay, in samples at ``sample_rate``.
        packet_samples: Samples a packet, at ``sample_rate``.

    Raises:
        ValueError: A rate, bit rate or duration Opus does not know.
        OpusUnavailableError: libopus is not installed.
    """

    def __init__(self, sample_rate: int, bitrate: int = 32_000, frame_ms: float = FRAME_MS) -> None:
        _check_rate(sample_rate)
        if frame_ms not in FRAME_DURATIONS_MS:
            known = ", ".join(f"{duration:g}" for duration in FRAME_DURATIONS_MS)
            raise ValueError(f"Opus packets last {known} ms, got {frame_ms:g}")
        lowest, highest = BITRATES
        if not lowest <= bitrate <= highest:
            raise ValueError(f"bitrate must be {lowest}..{highest} bit/s, got {bitrate}")
        api = self._api = _library()
        self._state = api.encoder.create_state(sample_rate, 1, api.opuslib.APPLICATION_VOIP)
        weakref.finalize(self, api.encoder.destroy, self._state)
        api.encoder.encoder_ctl(self._state, api.ctl.set_bitrate, bitrate)
        api.encoder.encoder_ctl(self._state, api.ctl.set_complexity, _COMPLEXITY)
        self.pre_skip_samples: int = api.encoder.encoder_ctl(self._state, api.ctl.get_lookahead)
        self.packet_samples = round(sample_rate * frame_ms / 1_000)
        self._packet = ctypes.create_string_buffer(_MAX_PACKET_BYTES)
        self._pending: FloatArray = np.zeros(0, np.float32)
        self._samples = 0
        self._ended = False

    def encode(self, samples: FloatArray) -> list[bytes]:
        """Take samples ``[n]``, any n; return the packets that are now full.

        Full scale is clipped, NaN becomes 0.

        Raises:
            RuntimeError: The stream was flushed.
        """
        if self._ended:
            raise RuntimeError("encode() after flush(); use a new encoder")
        self._samples += len(samples)
        audio = np.concatenate((self._pending, limit(samples)))
        whole = len(audio) - len(audio) % self.packet_samples
        self._pending = audio[whole:].copy()
        return [self._encode(frame) for frame in audio[:whole].reshape(-1, self.packet_samples)]

    def flush(self) -> list[bytes]:
        """End the stream: return the packets, padded with silence, that hold the rest.

        A second flush returns nothing.
        """
        if self._ended or not self._samples:
            self._ended = True
            return []
        packets = -(-(self._samples + self.pre_skip_samples) // self.packet_samples)
        padding = packets * self.packet_samples - self._samples
        rest = self.encode(np.zeros(padding, np.float32))
        self._ended = True
        return rest

    def _encode(self, frame: FloatArray) -> bytes:
        size = self._api.encoder.libopus_encode_float(
            self._state,
            frame.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            self.packet_samples,
            self._packet,
            _MAX_PACKET_BYTES,
        )
        if size < 1:
            raise RuntimeError(
                f"libopus refused a frame of {self.packet_samples} samples (error {size})"
            )
        return ctypes.string_at(self._packet, size)


def _check_rate(sample_rate: int) -> None:
    if sample_rate not in OPUS_RATES_HZ:
        rates = ", ".join(map(str, OPUS_RATES_HZ))
        raise ValueError(f"Opus knows the sample rates {rates} Hz, got {sample_rate}")


def _library() -> Any:
    loaded = _load()
    if isinstance(loaded, OpusUnavailableError):
        raise loaded.with_traceback(None)
    return loaded


@cache  # a failure too: each search for the library starts processes
def _load() -> Any:
    """Return opuslib's bindings, or the error to raise."""
    try:
        with warnings.catch_warnings():
            # opuslib 3.0.1 compares integers by identity; Python warns when it compiles that.
            warnings.simplefilter("ignore", SyntaxWarning)
            import opuslib.api.ctl
            import opuslib.api.decoder
            import opuslib.api.encoder
    except Exception as error:  # opuslib raises a bare Exception without libopus
        return OpusUnavailableError(
            "Opus needs the library libopus, which was not found: install it "
            "(Debian, Ubuntu: apt install libopus0; macOS: brew install opus) and restart, "
            f"or use PCM. Python said: {error}"
        )
    # Without these, variadic C functions are called wrongly on Apple silicon.
    opuslib.api.encoder.libopus_ctl.argtypes = (opuslib.api.encoder.EncoderPointer, ctypes.c_int)
    opuslib.api.decoder.libopus_ctl.argtypes = (opuslib.api.decoder.DecoderPointer, ctypes.c_int)
    return _Bindings(opuslib, opuslib.api.decoder, opuslib.api.encoder, opuslib.api.ctl)


class _Bindings:
    """The modules of opuslib, which carries no types."""

    def __init__(self, opuslib: Any, decoder: Any, encoder: Any, ctl: Any) -> None:
        self.opuslib = opuslib
        self.decoder = decoder
        self.encoder = encoder
        self.ctl = ctl
