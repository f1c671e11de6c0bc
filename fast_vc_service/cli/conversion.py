"""Commands that convert: files without a service, a microphone with one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fast_vc_service.cli.common import AsJson, Config, Device, Engine, Profile, load
from fast_vc_service.errors import UserError
from fast_vc_service.process.home import find_home

REGISTERS_FILE = Path("data/microphones.json")
"""What is remembered of who speaks into which microphone, below the service's home."""

PitchShift = Annotated[
    float,
    typer.Option(
        help="Semitones up or down, on top of the voice's own pitch.",
        metavar="SEMITONES",
        min=-24,
        max=24,
    ),
]


class FileFormat(StrEnum):
    """What converted files are written as."""

    WAV = "wav"
    FLAC = "flac"
    OGG = "ogg"


Sources = Annotated[
    list[Path] | None, typer.Argument(metavar="FILE", help="Files and folders to convert.")
]
SourceFlag = Annotated[
    list[Path] | None,
    typer.Option(
        help="The same as a flag; more files may follow. Default: "
        "wavs/sources/low-pitched-male-24k.wav.",
        metavar="FILE",
    ),
]
OutputDir = Annotated[
    Path | None,
    typer.Option(help="Where converted files go. Default: outputs/file_vc.", metavar="FOLDER"),
]
VoiceName = Annotated[
    str | None,
    typer.Option(help="Voice to convert to. Default: the default_voice.", metavar="NAME"),
]
ReferenceClip = Annotated[
    Path | None, typer.Option(help="Clip of the speaker to convert to, instead.", metavar="FILE")
]


def convert(
    *,
    more: Sources = None,
    source_wav_path: SourceFlag = None,
    output_dir: OutputDir = None,
    voice: VoiceName = None,
    reference_wav_path: ReferenceClip = None,
    pitch_shift: PitchShift = 0.0,
    file_format: Annotated[
        FileFormat, typer.Option("--format", help="Format of the converted files.")
    ] = FileFormat.WAV,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            help="Sample rate of the converted files. Default: that of each source.",
            metavar="HZ",
            min=8_000,
            max=192_000,
        ),
    ] = None,
    parallel: Annotated[
        int,
        typer.Option(
            "--parallel", "-j", help="Files converted at the same time.", metavar="N", min=1, max=64
        ),
    ] = 1,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Skip what an earlier run with --resume has finished just so."
        ),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write the results into this JSON file.", metavar="FILE")
    ] = None,
    profile: Profile = None,
    config: Config = None,
    engine: Engine = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Convert audio files; needs no running service.

    Any format, rate and length is read; channels are mixed to one. A converted file has exactly
    the length of its source, and its sample rate unless --sample-rate says another. A broken
    file is reported, the others are converted. Exit status: 0 all were converted, 1 some could
    not be, 2 a wrong setting or flag.
    """
    if voice is not None and reference_wav_path is not None:
        raise typer.BadParameter("expected one of --voice and --reference-wav-path, got both")
    from fast_vc_service.commands import convert as conversion
    from fast_vc_service.commands.one_file import Request

    loaded = load(profile, config, engine=engine, device=device)
    sources = [*(source_wav_path or []), *(more or [])]
    request = Request(
        sources=sources or [loaded.home / conversion.DEFAULT_SOURCE],
        output_dir=output_dir or loaded.home / conversion.DEFAULT_OUTPUT_DIR,
        file_format=file_format.value,
        voice=voice,
        reference=reference_wav_path,
        pitch_shift=pitch_shift,
        parallel=parallel,
        resume=resume,
        report=report,
        sample_rate=sample_rate,
    )
    raise typer.Exit(conversion.run(loaded.settings, request, as_json=as_json))


def mic(
    *,
    voice: Annotated[
        str | None,
        typer.Option(help="Voice to speak with. Default: the service's own.", metavar="NAME"),
    ] = None,
    pitch_shift: PitchShift = 0.0,
    url: Annotated[
        str, typer.Option(help="Address of the service.", metavar="URL")
    ] = "ws://localhost:8042/ws",
    api_key: Annotated[
        str | None,
        typer.Option(
            help="Key, if the service wants one.", metavar="KEY", envvar="FAST_VC_API_KEY"
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(help="Certificate (PEM) to trust with wss://.", metavar="FILE"),
    ] = None,
    input_device: Annotated[
        str | None, typer.Option(help="Microphone: its name or number.", metavar="NAME")
    ] = None,
    output_device: Annotated[
        str | None, typer.Option(help="Loudspeaker: its name or number.", metavar="NAME")
    ] = None,
    buffer_ms: Annotated[
        float, typer.Option(help="Audio kept back against jitter.", metavar="MS", min=0, max=2000)
    ] = 60.0,
    seconds: Annotated[
        float | None, typer.Option(help="Stop after so long. Default: Ctrl-C.", metavar="S")
    ] = None,
    push_to_talk: Annotated[
        bool,
        typer.Option("--push-to-talk", help="Enter starts and stops talking; silent in between."),
    ] = False,
    new_speaker: Annotated[
        bool,
        typer.Option(
            "--new-speaker",
            help="Forget the register that was remembered for this microphone.",
        ),
    ] = False,
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="List sound cards and exit.")
    ] = False,
) -> None:
    """Speak with another voice: microphone in, loudspeaker out.

    A running service converts. For calls and games choose a virtual sound card as
    --output-device, and the same one as the microphone of the other program.
    """
    from fast_vc_service.client import microphone
    from fast_vc_service.client.registers import RememberedRegisters

    try:
        devices = microphone.SoundCards(_device(input_device), _device(output_device))
    except microphone.DevicesError as error:
        raise UserError(str(error)) from error
    if list_devices:
        typer.echo(devices.listing())
        return
    registers = RememberedRegisters(find_home() / REGISTERS_FILE)
    if new_speaker:
        registers.forget(devices.microphone_name())
    given = {"voice": voice, "api_key": api_key}
    options = {name: value for name, value in given.items() if value is not None}
    raise typer.Exit(
        microphone.run(
            devices,
            url=url,
            buffer_ms=buffer_ms,
            seconds=seconds,
            ca_file=ca_file,
            push_to_talk=push_to_talk,
            registers=registers,
            options={"pitch_shift": pitch_shift, **options},  # type: ignore[typeddict-item]
        )
    )


def _device(named: str | None) -> str | int | None:
    return int(named) if named is not None and named.isdigit() else named
