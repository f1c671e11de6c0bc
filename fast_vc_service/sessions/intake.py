"""From a client's messages to samples, and what stands for those that were lost or broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fast_vc_service.audio.codecs import CorruptAudioError, Decoder
from fast_vc_service.contract import FloatArray
from fast_vc_service.protocol.codes import ErrorCode, WarningCode
from fast_vc_service.protocol.limits import MAX_CONCEALED_IN_A_ROW, MAX_CORRUPT_S
from fast_vc_service.protocol.opening import Start
from fast_vc_service.sessions.errors import SessionError

SLICE_S = 0.1
"""Seconds of audio decoded at a time, so that a huge message does not hold up other sessions."""


class Intake:
    """Decodes the binary messages of one session.

    Args:
        start: Says what the messages are.
        decoder: Client bytes to samples.
        warn: Tells the client of something that the session survives.

    Attributes:
        concealed_s: Seconds of audio made up for packets that were lost or broken.
    """

    def __init__(
        self, start: Start, decoder: Decoder, warn: Callable[[WarningCode, str], None]
    ) -> None:
        self._start = start
        self._decoder = decoder
        self._warn = warn
        self._opus = start.encoding == "OPUS"
        depth = start.bit_depth if start.encoding == "PCM" else 8
        self._slice_bytes = max(1, int(SLICE_S * start.sample_rate)) * depth // 8
        self._concealed_in_a_row = 0
        self._corrupt_in_a_row_s = 0.0
        self.concealed_s = 0.0

    def is_one_piece(self, payload: bytes) -> bool:
        """Tell whether a message is short enough to be decoded at a time."""
        return self._opus or len(payload) <= self._slice_bytes

    def pieces(self, payload: bytes) -> Sequence[bytes]:
        """Cut a message into what is to be decoded at a time."""
        if self.is_one_piece(payload):
            return (payload,)
        step = self._slice_bytes
        return [payload[begin : begin + step] for begin in range(0, len(payload), step)]

    def decode(self, piece: bytes) -> FloatArray:
        """Return the samples ``[n]`` of one piece.

        Raises:
            SessionError: INVALID_AUDIO after a second of undecodable packets in a row.
        """
        return self._packet(piece) if self._opus else self._decoder.decode(piece)

    def pending_bytes(self) -> int:
        """Bytes of an unfinished sample."""
        return self._decoder.pending_bytes()

    def _packet(self, packet: bytes) -> FloatArray:
        if not packet:
            return self._lost()
        self._concealed_in_a_row = 0
        try:
            samples = self._decoder.decode(packet)
        except CorruptAudioError as error:
            return self._corrupt(error)
        self._corrupt_in_a_row_s = 0.0
        return samples

    def _lost(self) -> FloatArray:
        self._concealed_in_a_row += 1
        if self._concealed_in_a_row > MAX_CONCEALED_IN_A_ROW:
            self._warn(
                WarningCode.CORRUPT_AUDIO,
                f"more than {MAX_CONCEALED_IN_A_ROW} lost packets in a row: ignored",
            )
            return np.zeros(0, np.float32)
        return self._concealed()

    def _corrupt(self, error: CorruptAudioError) -> FloatArray:
        self._warn(WarningCode.CORRUPT_AUDIO, str(error))
        samples = self._concealed()
        lost_s = len(samples) / self._start.sample_rate or self._start.opus_frame_duration / 1e3
        self._corrupt_in_a_row_s += lost_s
        if self._corrupt_in_a_row_s >= MAX_CORRUPT_S:
            raise SessionError(
                ErrorCode.INVALID_AUDIO,
                "a second of packets in a row could not be decoded",
                expected="one raw Opus packet a message",
                got=str(error),
                hint="send packets without a container (no Ogg), or encoding PCM",
            ) from error
        return samples

    def _concealed(self) -> FloatArray:
        samples = self._decoder.conceal()
        self.concealed_s += len(samples) / self._start.sample_rate
        return samples
