"""Encodings, rates and bounds of the wire."""

from __future__ import annotations

from typing import Literal, get_args

Encoding = Literal["PCM", "OPUS", "MULAW", "ALAW"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)
G711_ENCODINGS: tuple[Encoding, ...] = ("MULAW", "ALAW")

PCM_RATES_HZ = (8_000, 48_000)
"""Lowest and highest; any whole number between them."""

OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
"""The rates libopus decodes to and encodes from."""

G711_RATES_HZ = (8_000,)
"""The rate of telephone lines."""

DEFAULT_RATE_HZ = 16_000
BIT_DEPTHS = (16, 24, 32)
BITRATES = (6_000, 510_000)
"""Bits a second of Opus, lowest and highest."""

OPUS_PACKET_MS = 20
"""Duration of the Opus packets that the server sends, and of a client's unless it says else."""

ANNOUNCED_PACKET_MS = (2.5, 120.0)
"""Shortest and longest packet a client may announce: what an Opus packet can last."""

MAX_PITCH_SHIFT = 24.0
"""Semitones, up or down."""

SOURCE_F0_HZ = (50.0, 1_100.0)
"""Lowest and highest register (median F0) that a speaker can be said to have."""

MAX_NAME_CHARS = 128
MAX_MARKER_CHARS = 64
MAX_WAITING_MARKERS = 64
WARNING_INTERVAL_S = 1.0
"""Shortest time between two warnings of the same code."""

MAX_CONCEALED_IN_A_ROW = 5
"""Lost Opus packets that are concealed; further ones add nothing."""

MAX_CORRUPT_S = 1.0
"""Undecodable Opus packets in a row that a session survives, in seconds."""

INT64 = (-(2**63), 2**63 - 1)

MAX_TEXT_CHARS = 64 * 1024
"""Longest text message that is parsed at all; bounds the time one message can cost."""

MAX_FRAME_BYTES = 16 << 20
"""Longest message that can be allowed by the settings."""

FRAMES_A_SECOND = 500.0
"""Frames that carry no audio (texts, pings, pongs, empty messages, small fragments), on average."""

BURST_FRAMES = 1000
"""The same at once."""

MAX_WAITING_UPDATES = 64

MOST_VOICES = 4
"""Voices in a blend."""

LEAST_SHARE = 0.001
"""Share of a voice in a blend."""


def implied_rate_hz(encoding: str) -> int:
    """Return the rate of audio in ``encoding`` that comes without one."""
    return G711_RATES_HZ[0] if encoding.upper() in G711_ENCODINGS else DEFAULT_RATE_HZ
