"""The ``fast-vc`` command line: parses, calls, prints.

What is slow to import (torch, the settings) is imported by the commands that need it, so that
``status``, ``stop``, ``clean`` and ``version`` answer at once.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fast_vc_service import __version__, lifecycle, status
from fast_vc_service.errors import ServiceError, SettingsError, UserError
from fast_vc_service.home import find_home, temp_dir

if TYPE_CHECKING:
    from fast_vc_service.settings import LoadedSettings

EXIT_WRONG_SETTINGS = 2

app = typer.Typer(
    name="fast-vc",
    help="Real-time voice conversion as a service.\n\nStart it with `fast-vc serve`, look at it "
    "with `fast-vc status`, convert files without it with `fast-vc convert`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
sessions_app = typer.Typer(no_args_is_help=True, help="Look at recorded sessions.")
app.add_typer(sessions_app, name="session")
models_app = typer.Typer(no_args_is_help=True, help="Download and check published models.")
app.add_typer(models_app, name="models")
voices_app = typer.Typer(no_args_is_help=True, help="List, check, add and remove voices.")
app.add_typer(voices_app, name="voices")


class FileFormat(StrEnum):
    """What converted files are written as."""

    WAV = "wav"
    FLAC = "flac"
    OGG = "ogg"


Profile = Annotated[
    str | None,
    typer.Option(
        help="Profile to use: `prod`, `dev`, or the name of a file in profiles/. Default: "
        "`env_profile` of the environment or .env, else prod.",
        metavar="NAME",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(help="YAML file of settings to use instead of a profile.", metavar="FILE"),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="Model family: nano, world, passthrough, seedvc-tiny, -small or -base.", metavar="NAME"
    ),
]
Device = Annotated[
    str | None, typer.Option(help="Where the model runs: cpu or cuda.", metavar="NAME")
]
LatencyMs = Annotated[
    int | None,
    typer.Option(
        help="Milliseconds from a sample's arrival to its converted answer. Default: the "
        "engine's own.",
        metavar="MS",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
OnePort = Annotated[
    int | None, typer.Option(help="Port of the service meant. Default: the one that runs.")
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]


@app.command()
def serve(
    *,
    profile: Profile = None,
    config: Config = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1, this machine.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: 8042.")] = None,
    engine: Engine = None,
    device: Device = None,
    latency_ms: LatencyMs = None,
    max_sessions: Annotated[
        int | None, typer.Option(help="Live sessions at once. Default: measured.", metavar="N")
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(help="Least important messages: DEBUG, INFO, WARNING, ERROR.", metavar="NAME"),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate (PEM) for wss://.", metavar="FILE")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Private key (PEM) of the certificate.", metavar="FILE")
    ] = None,
    tls_self_signed: Annotated[
        bool, typer.Option("--tls-self-signed", help="Make a certificate and use wss://.")
    ] = False,
    allow_anonymous: Annotated[
        bool,
        typer.Option(
            "--allow-anonymous", help="Serve without keys on an address others can reach."
        ),
    ] = False,
    print_config: Annotated[
        bool,
        typer.Option(
            "--print-config", help="Print every setting and where it came from; do not start."
        ),
    ] = False,
) -> None:
    """Start the service in the foreground; Ctrl-C lets live sessions finish and stops it.

    Settings come from flags, then the environment (FAST_VC_...), then .env, then the profile;
    docs/configuration.md lists them all.
    """
    lifecycle.allow_interrupt()
    loaded = _load(
        profile,
        config,
        host=host,
        port=port,
        engine=engine,
        device=device,
        latency_ms=latency_ms,
        max_sessions=max_sessions,
        log_level=log_level,
        tls_cert=_absolute(tls_cert),
        tls_key=_absolute(tls_key),
        tls_self_signed=tls_self_signed or None,
        allow_anonymous=allow_anonymous or None,
    )
    if print_config:
        from fast_vc_service.settings.show import show

        sys.stdout.write(show(loaded))
        return
    from fast_vc_service import start

    raise typer.Exit(start.serve(loaded))


@app.command("status")
def status_command(port: OnePort = None, as_json: AsJson = False) -> None:
    """Tell whether the service runs and how it is.

    Exit status: 0 ready, 4 starting or draining (or not answering), 3 not running.
    """
    found = status.look(temp_dir(find_home()), port)
    described = [status.describe(info) for info in found.running]
    if as_json:
        _print_json(status.as_json(described, found))
    else:
        _print_stale(found)
        for service in described:
            typer.echo(status.as_text(service))
        if not described:
            typer.echo(f"fast-vc-service is not running{f' on port {port}' if port else ''}")
    raise typer.Exit(status.exit_status(described))


@app.command()
def stop(
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Do not wait for live sessions to finish.")
    ] = False,
    port: OnePort = None,
) -> None:
    """Stop the service: live sessions get time to finish (drain_s), new ones are refused.

    Exit status: 0 stopped, 3 nothing to stop, 1 something is still running.
    """
    found = status.look(temp_dir(find_home()), port)
    _print_stale(found)
    if not found.running:
        raise _not_running(port)
    if len(found.running) > 1:
        ports = ", ".join(str(info.port) for info in found.running)
        raise ServiceError(f"services run on the ports {ports}; choose one with --port")
    info = found.running[0]
    patience_s = info.drain_s + lifecycle.STOP_MARGIN_S
    if not force:
        typer.echo(
            f"stopping process {info.master_pid} on port {info.port}; live sessions get up to "
            f"{info.drain_s:.0f} s"
        )
    alive = lifecycle.stop_service(info, force=force)
    if alive:
        pids = ", ".join(map(str, alive))
        waited = "" if force else f" after {patience_s:.0f} s"
        hint = "" if force else f"; use: fast-vc stop --force --port {info.port}"
        raise ServiceError(f"still running{waited}: process {pids}{hint}")
    status.look(temp_dir(find_home()), info.port)
    typer.echo(f"stopped process {info.master_pid} on port {info.port}")


@app.command()
def clean(
    yes: Yes = False,
    outputs: Annotated[
        bool, typer.Option("--outputs", help="Also recordings and converted files in outputs/.")
    ] = False,
    temp: Annotated[bool, typer.Option("--temp", help="Also left-over files in temp/.")] = False,
) -> None:
    """Remove log files, after listing them and asking. Files of a running service stay."""
    from fast_vc_service import cleanup

    loaded = _load(None, None)
    settings = loaded.settings
    running = lifecycle.find_services(settings.temp_dir).running
    folders = [settings.logs_dir]
    found = cleanup.log_files(settings.logs_dir, running)
    if outputs:
        cleanup.check_folder(settings.outputs_dir, loaded.home, "outputs_dir")
        folders.append(settings.outputs_dir)
        found += cleanup.output_files(settings.outputs_dir, running)
    if temp:
        cleanup.check_folder(settings.temp_dir, loaded.home, "temp_dir")
        folders.append(settings.temp_dir)
        found += cleanup.temp_files(settings.temp_dir, running)
    if not found:
        typer.echo("nothing to remove")
        return
    for path in found:
        typer.echo(path)
    if not yes and not typer.confirm(f"Remove these {len(found)} files?"):
        typer.echo("nothing was removed", err=True)
        raise typer.Exit(1)
    try:
        cleanup.remove(found, folders)
    except OSError as error:
        raise ServiceError(f"cannot remove a file: {error}") from error
    typer.echo(f"removed {len(found)} files")


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version; with --json also build, Python, torch and devices."""
    if not as_json:
        typer.echo(__version__)
        return
    from fast_vc_service import about

    _print_json(about.describe())


@app.command()
def convert(
    *,
    more: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Files and folders to convert."),
    ] = None,
    source_wav_path: Annotated[
        list[Path] | None,
        typer.Option(
            help="The same as a flag; more files may follow. Default: "
            "wavs/sources/low-pitched-male-24k.wav.",
            metavar="FILE",
        ),
    ] = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(help="Where converted files go. Default: outputs/file_vc.", metavar="FOLDER"),
    ] = None,
    voice: Annotated[
        str | None,
        typer.Option(help="Voice to convert to. Default: the default_voice.", metavar="NAME"),
    ] = None,
    reference_wav_path: Annotated[
        Path | None,
        typer.Option(help="Clip of the speaker to convert to, instead.", metavar="FILE"),
    ] = None,
    pitch_shift: Annotated[
        float,
        typer.Option(
            help="Semitones up or down, on top of the voice's own pitch.", min=-24, max=24
        ),
    ] = 0.0,
    file_format: Annotated[
        FileFormat, typer.Option("--format", help="Format of the converted files.")
    ] = FileFormat.WAV,
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
    """Convert audio files to another voice; needs no running service.

    Any format, rate and length is read; channels are mixed to one. A converted file has the
    sample rate and exactly the length of its source. A broken file is reported, the others are
    converted. Exit status: 0 all were converted, 1 some could not be, 2 a wrong setting or flag.
    """
    if voice is not None and reference_wav_path is not None:
        raise typer.BadParameter("expected one of --voice and --reference-wav-path, got both")
    from fast_vc_service import convert as conversion

    loaded = _load(profile, config, engine=engine, device=device)
    sources = [*(source_wav_path or []), *(more or [])]
    request = conversion.Request(
        sources=sources or [loaded.home / conversion.DEFAULT_SOURCE],
        output_dir=output_dir or loaded.home / conversion.DEFAULT_OUTPUT_DIR,
        file_format=file_format.value,
        voice=voice,
        reference=reference_wav_path,
        pitch_shift=pitch_shift,
        parallel=parallel,
        resume=resume,
        report=report,
    )
    raise typer.Exit(conversion.run(loaded.settings, request, as_json=as_json))


@app.command()
def doctor(
    *,
    profile: Profile = None,
    config: Config = None,
    port: Annotated[int | None, typer.Option(help="Port to look at. Default: 8042.")] = None,
    engine: Engine = None,
    device: Device = None,
    latency_ms: LatencyMs = None,
    as_json: AsJson = False,
) -> None:
    """Check whether this machine keeps up, and say what to do when it does not.

    Measures the delay, the speed and whether streaming changes the audio; looks at libopus, the
    port, folders, devices and voices. Exit status 1: a problem stops the service.
    """
    loaded = _load(profile, config, port=port, engine=engine, device=device, latency_ms=latency_ms)
    from fast_vc_service import doctor as examination

    raise typer.Exit(examination.run(loaded.settings, as_json=as_json))


@app.command()
def mic(
    *,
    voice: Annotated[
        str | None,
        typer.Option(help="Voice to speak with. Default: the service's own.", metavar="NAME"),
    ] = None,
    pitch_shift: Annotated[
        float,
        typer.Option(
            help="Semitones up or down, on top of the voice's own pitch.", min=-24, max=24
        ),
    ] = 0.0,
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
    list_devices: Annotated[
        bool, typer.Option("--list-devices", help="List sound cards and exit.")
    ] = False,
) -> None:
    """Speak with another voice: microphone in, converted speech out, by a running service."""
    from fast_vc_service.client import microphone

    try:
        devices = microphone.SoundCards(_device(input_device), _device(output_device))
    except microphone.DevicesError as error:
        raise UserError(str(error)) from error
    if list_devices:
        typer.echo(devices.listing())
        return
    given = {"voice": voice, "api_key": api_key}
    options = {name: value for name, value in given.items() if value is not None}
    raise typer.Exit(
        microphone.run(
            devices,
            url=url,
            buffer_ms=buffer_ms,
            seconds=seconds,
            ca_file=ca_file,
            options={"pitch_shift": pitch_shift, **options},  # type: ignore[typeddict-item]
        )
    )


SessionId = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The session's id, or the beginning of its recording's name."
    ),
]


@sessions_app.command()
def export(
    session_id: SessionId,
    output_dir: Annotated[
        Path, typer.Option(help="Existing folder to put it into.", metavar="FOLDER")
    ] = Path(),
    as_folder: Annotated[
        bool, typer.Option("--folder", help="Make a folder instead of a ZIP file.")
    ] = False,
) -> None:
    """Copy a recorded session out: its audio, timeline and statistics."""
    from fast_vc_service import session_tools

    made = session_tools.export(_outputs(), session_id, output_dir, as_folder=as_folder)
    typer.echo(made)


@sessions_app.command()
def show(
    session_id: SessionId,
    limit: Annotated[int, typer.Option(help="Events shown; 0 shows all.", min=0)] = 200,
) -> None:
    """Show what happened in a recorded session, event by event."""
    from rich.console import Console

    from fast_vc_service import session_tools

    Console().print(session_tools.show(_outputs(), session_id, limit=limit or None))


@sessions_app.command()
def stats(
    session_id: SessionId,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the histograms into this PNG.", metavar="FILE")
    ] = None,
) -> None:
    """Show a recorded session's latency, jitter and real-time factor."""
    from fast_vc_service import session_tools

    found = session_tools.stats(_outputs(), session_id)
    if plot is not None:
        session_tools.plot_histograms(found, plot)
    if as_json:
        _print_json(dict(found.figures))
        return
    import yaml

    typer.echo(yaml.safe_dump(dict(found.figures), sort_keys=False))
    typer.echo(session_tools.histograms_as_text(found))


@models_app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models, their files, sizes and licences, and what of them is here."""
    from fast_vc_service import model_tools

    models = model_tools.describe(_load(None, None).settings)
    if as_json:
        _print_json({"models": models})
    else:
        typer.echo(model_tools.as_text(models))


@models_app.command()
def download(
    model: Annotated[str, typer.Argument(help="Name, as `fast-vc models list` shows it.")],
) -> None:
    """Download what is missing of a model; an interrupted download goes on."""
    from fast_vc_service import model_tools

    for use, path in model_tools.download(_load(None, None).settings, model).items():
        typer.echo(f"{use}: {path}")


@models_app.command()
def verify(
    models: Annotated[list[str], typer.Argument(help="Names of models.", metavar="MODEL...")],
) -> None:
    """Read the files of models again and compare size and hash."""
    from fast_vc_service import model_tools

    for line in model_tools.verify(_load(None, None).settings, models):
        typer.echo(line)


Owner = Annotated[
    str | None,
    typer.Option(help="Name of the API key it belongs to. Default: everybody's.", metavar="NAME"),
]
VoiceName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the voice.")]


@voices_app.command("list")
def list_voices(as_json: AsJson = False) -> None:
    """List all voices: the clips of voices_dir, and those that were added, whoever owns them."""
    from fast_vc_service import voice_tools

    voices = voice_tools.describe(_load(None, None).settings)
    if as_json:
        _print_json({"voices": voices})
    else:
        typer.echo(voice_tools.as_text(voices))


@voices_app.command("check")
def check_voices(
    clips: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files.")],
    as_json: AsJson = False,
) -> None:
    """Tell whether clips make good voices, and what would make them better.

    Exit status 1: at least one makes none.
    """
    from fast_vc_service import voice_tools

    checks = voice_tools.check(_load(None, None).settings, clips)
    if as_json:
        _print_json({"clips": checks})
    else:
        typer.echo(voice_tools.checks_as_text(checks))
    raise typer.Exit(1 if any(check["problems"] for check in checks) else 0)


@voices_app.command("add")
def add_voice(
    *,
    name: VoiceName,
    clip: Annotated[Path, typer.Argument(metavar="FILE", help="5 to 30 s of one speaker.")],
    consent: Annotated[
        bool,
        typer.Option("--consent", help="Say that you are the speaker, or the speaker agrees."),
    ] = False,
    description: Annotated[str | None, typer.Option(help="A few words.", metavar="TEXT")] = None,
    owner: Owner = None,
    engine: Engine = None,
) -> None:
    """Make a voice of a clip; a running service has it at once."""
    from fast_vc_service import voice_tools

    settings = _load(None, None, engine=engine).settings
    check = voice_tools.add(
        settings, name, clip, consent=consent, description=description, owner=owner
    )
    typer.echo(f"added {name}")
    for doubt in check["doubts"]:
        typer.echo(f"{name}: {doubt}", err=True)


@voices_app.command("remove")
def remove_voice(name: VoiceName, owner: Owner = None, yes: Yes = False) -> None:
    """Remove a voice that was added, with its clip. Clips of voices_dir stay."""
    from fast_vc_service import voice_tools

    settings = _load(None, None).settings
    voice_tools.find_added(settings, name, owner)
    if not yes and not typer.confirm(f"Remove the voice {name!r} with its clip?"):
        typer.echo("nothing was removed", err=True)
        raise typer.Exit(1)
    voice_tools.remove(settings, name, owner)
    typer.echo(f"removed {name}")


@voices_app.command("export")
def export_voice(
    name: VoiceName,
    output: Annotated[
        Path | None, typer.Option(help="ZIP file to write. Default: NAME.zip.", metavar="FILE")
    ] = None,
    owner: Owner = None,
) -> None:
    """Write a voice, its clip and description, into one file for another service."""
    from fast_vc_service import voice_tools

    typer.echo(voice_tools.export(_load(None, None).settings, name, output, owner))


@voices_app.command("import")
def import_voice(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `voices export` wrote.")],
    name: Annotated[str | None, typer.Option(help="Another name for it.", metavar="NAME")] = None,
    owner: Owner = None,
    engine: Engine = None,
) -> None:
    """Add a voice that another service exported; its clip is checked and made a voice anew."""
    from fast_vc_service import voice_tools

    settings = _load(None, None, engine=engine).settings
    typer.echo(f"added {voice_tools.import_(settings, file, name, owner)}")


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr, not a traceback."""
    try:
        app()
    except UserError as error:
        typer.echo(f"fast-vc: {error}", err=True)
        sys.exit(EXIT_WRONG_SETTINGS if isinstance(error, SettingsError) else 1)


def _load(profile: str | None, config: Path | None, **flags: object) -> LoadedSettings:
    from fast_vc_service.settings import load_settings

    given = {name: value for name, value in flags.items() if value is not None}
    return load_settings(given, home=find_home(), profile=profile, config=_absolute(config))


def _device(named: str | None) -> str | int | None:
    return int(named) if named is not None and named.isdigit() else named


def _outputs() -> Path:
    return _load(None, None).settings.outputs_dir


def _absolute(path: Path | None) -> Path | None:
    """Anchor a path of the command line where the user typed it, not at the home."""
    return None if path is None else path.expanduser().absolute()


def _not_running(port: int | None) -> typer.Exit:
    typer.echo(f"fast-vc-service is not running{f' on port {port}' if port else ''}", err=True)
    return typer.Exit(status.NOT_RUNNING)


def _print_stale(found: lifecycle.FoundServices) -> None:
    for stale in found.stale:
        typer.echo(f"removed a stale info file, {stale.path}: {stale.reason}", err=True)


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, indent=2))
