"""Flags that the example clients share, and the plan they make (spec: clients)."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fast_vc_service.audio.opus import FRAME_DURATIONS_MS, FRAME_MS
from fast_vc_service.client.client import DEFAULT_BITRATE, DEFAULT_URL
from fast_vc_service.client.protocol_types import SessionOptions
from fast_vc_service.client.run import Plan
from fast_vc_service.protocol.limits import DEFAULT_RATE_HZ, G711_ENCODINGS, implied_rate_hz
from fast_vc_service.protocol.members import Dialect

DEFAULT_SOURCE = "wavs/sources/low-pitched-male-24k.wav"
"""Relative to the checkout."""

DEFAULT_API_KEY = "test-key"
DEFAULT_CHUNK_MS = 20
_FRAME_DURATIONS = ", ".join(f"{duration:g}" for duration in FRAME_DURATIONS_MS)


class Encoding(StrEnum):
    """How audio travels; MULAW and ALAW are those of telephone lines."""

    PCM = "PCM"
    OPUS = "OPUS"
    MULAW = "MULAW"
    ALAW = "ALAW"


SourceWavPath = Annotated[
    Path,
    typer.Option(
        help="Speech to send; any audio file, mixed to one channel and resampled if needed.",
        metavar="FILE",
        show_default=DEFAULT_SOURCE,
    ),
]
EncodingIn = Annotated[
    Encoding, typer.Option("--encoding", help="How audio is sent.", case_sensitive=False)
]
SampleRate = Annotated[
    int,
    typer.Option(
        "--samplerate",
        "--sr",
        help="Hz of the audio sent; MULAW and ALAW are always 8000.",
        metavar="HZ",
    ),
]
Url = Annotated[str, typer.Option(help="Address of the service.", metavar="URL")]
ApiKey = Annotated[
    str,
    typer.Option(help="Key, if the service wants one.", metavar="KEY", envvar="FAST_VC_API_KEY"),
]
ChunkTime = Annotated[
    int,
    typer.Option(
        help="Milliseconds of audio sent at a time. With OPUS a multiple of the frame duration: "
        "that many packets at a time.",
        metavar="MS",
        min=1,
    ),
]
RealTime = Annotated[
    bool,
    typer.Option(
        "--real-time/--no-real-time",
        help="Send at the pace of speech, or as fast as the service reads.",
    ),
]
Bitrate = Annotated[int, typer.Option(help="Bits a second of Opus that is sent.", metavar="BPS")]
FrameDuration = Annotated[
    float,
    typer.Option(
        help=f"Milliseconds of an Opus packet that is sent: {_FRAME_DURATIONS}.", metavar="MS"
    ),
]
SaveOutput = Annotated[
    bool, typer.Option("--save-output/--no-save-output", help="Write the converted speech.")
]
VoiceName = Annotated[
    str | None,
    typer.Option(
        "--voice", help="Voice to convert to. Default: the service's own.", metavar="NAME"
    ),
]
SampleRateOut = Annotated[
    int,
    typer.Option(
        help="Hz of the audio that comes back; MULAW and ALAW are always 8000.", metavar="HZ"
    ),
]
EncodingOut = Annotated[Encoding, typer.Option(help="How audio comes back.", case_sensitive=False)]
CaFile = Annotated[
    Path | None,
    typer.Option(
        help="Certificate (PEM) to trust with wss://, such as a self-signed one.", metavar="FILE"
    ),
]


FULL_BAND_RATE_HZ = 24_000
"""Hz at which all that the default engine makes is heard."""


def make_plan(
    *,
    url: str = DEFAULT_URL,
    dialect: Dialect = "standard",
    api_key: str = DEFAULT_API_KEY,
    session_id: str | None = None,
    voice: str | None = None,
    encoding: Encoding = Encoding.PCM,
    sample_rate: int = DEFAULT_RATE_HZ,
    sample_rate_out: int = DEFAULT_RATE_HZ,
    encoding_out: Encoding = Encoding.PCM,
    chunk_ms: int = DEFAULT_CHUNK_MS,
    real_time: bool = True,
    bitrate: int = DEFAULT_BITRATE,
    frame_ms: float = FRAME_MS,
    timeout_s: float | None = None,
    ca_file: Path | None = None,
) -> Plan:
    """Return the plan that flags describe.

    Raises:
        typer.BadParameter: Flags that do not go together.
    """
    if frame_ms not in FRAME_DURATIONS_MS:
        raise typer.BadParameter(
            f"expected one of {_FRAME_DURATIONS}; got {frame_ms:g}", param_hint="--frame-duration"
        )
    if encoding is Encoding.OPUS and chunk_ms % frame_ms:
        raise typer.BadParameter(
            f"expected a multiple of the {frame_ms:g} ms of an Opus packet; got {chunk_ms}",
            param_hint="--chunk-time",
        )
    if ca_file is not None and not ca_file.is_file():
        raise typer.BadParameter(f"{ca_file}: no such file", param_hint="--ca-file")
    options = SessionOptions(
        api_key=api_key,
        sample_rate=_rate_of(encoding, sample_rate),
        encoding=encoding.value,
        sample_rate_out=_rate_of(encoding_out, sample_rate_out),
        encoding_out=encoding_out.value,
    )
    if encoding is Encoding.OPUS:
        options["opus_frame_duration"] = frame_ms
    if session_id is not None:
        options["session_id"] = session_id
    if voice is not None:
        options["voice"] = voice
    return Plan(
        url=url,
        dialect=dialect,
        chunk_ms=chunk_ms,
        real_time=real_time,
        bitrate=bitrate,
        timeout_s=timeout_s,
        ca_file=ca_file,
        options=options,
    )


def run(main: Callable[..., None]) -> None:
    """Run ``main`` as a command line of its own."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(main)
    app()


def _rate_of(encoding: Encoding, asked_hz: int) -> int:
    return implied_rate_hz(encoding) if encoding in G711_ENCODINGS else asked_hz
