"""Commands for the service on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fast_vc_service import __version__
from fast_vc_service.cli.common import (
    AsJson,
    Config,
    Device,
    Engine,
    LatencyMs,
    OnePort,
    Profile,
    Yes,
    absolute,
    load,
    print_json,
)
from fast_vc_service.commands import status
from fast_vc_service.errors import ServiceError, SettingsError
from fast_vc_service.process import signals, stopping
from fast_vc_service.process.home import find_home, temp_dir
from fast_vc_service.process.service_info import FoundServices, find_services


def serve(
    *,
    profile: Profile = None,
    config: Config = None,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on. Default: 127.0.0.1, this machine.", metavar="ADDRESS"
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on. Default: 8042.", metavar="PORT")
    ] = None,
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
    exit_on_failure: Annotated[
        bool,
        typer.Option(
            "--exit-on-failure",
            help="End with status 1 when the model cannot be brought back, for a supervisor to "
            "start the service anew. Default: stay, and say so in /health/ready.",
        ),
    ] = False,
    print_config: Annotated[
        bool,
        typer.Option(
            "--print-config", help="Print every setting and where it came from; do not start."
        ),
    ] = False,
) -> None:
    """Start the service in the foreground.

    Ctrl-C lets live sessions finish and stops it; a second one stops it at once. Settings come
    from flags, then the environment (FAST_VC_), then .env, then the profile;
    docs/configuration.md lists them all.
    """
    signals.allow_interrupt()
    loaded = load(
        profile,
        config,
        host=host,
        port=port,
        engine=engine,
        device=device,
        latency_ms=latency_ms,
        max_sessions=max_sessions,
        log_level=log_level,
        tls_cert=absolute(tls_cert),
        tls_key=absolute(tls_key),
        tls_self_signed=tls_self_signed or None,
        allow_anonymous=allow_anonymous or None,
        exit_on_failure=exit_on_failure or None,
    )
    if print_config:
        from fast_vc_service.settings.show import show

        sys.stdout.write(show(loaded))
        return
    from fast_vc_service.commands import serve as start

    raise typer.Exit(start.serve(loaded))


def show_status(port: OnePort = None, as_json: AsJson = False) -> None:
    """Tell whether the service runs and how it is.

    Exit status: 0 ready, 4 starting or draining (or not answering), 5 failed (only a restart
    helps), 3 not running.
    """
    found = status.look(temp_dir(find_home()), port)
    described = [status.describe(info) for info in found.running]
    if as_json:
        print_json(status.as_json(described, found))
    else:
        _print_stale(found)
        for service in described:
            typer.echo(status.as_text(service))
        if not described:
            typer.echo(f"fast-vc-service is not running{f' on port {port}' if port else ''}")
    raise typer.Exit(status.exit_status(described))


def stop(
    force: Annotated[
        bool, typer.Option("-f", "--force", help="Do not wait for live sessions to finish.")
    ] = False,
    port: OnePort = None,
) -> None:
    """Stop the service when its live sessions have finished.

    They get time for it (drain_s); new ones are refused. Exit status: 0 stopped, 3 nothing to
    stop, 1 something is still running.
    """
    found = status.look(temp_dir(find_home()), port)
    _print_stale(found)
    if not found.running:
        raise _not_running(port)
    if len(found.running) > 1:
        ports = ", ".join(str(info.port) for info in found.running)
        raise ServiceError(f"services run on the ports {ports}; choose one with --port")
    info = found.running[0]
    patience_s = info.drain_s + stopping.STOP_MARGIN_S
    if not force:
        typer.echo(
            f"stopping process {info.master_pid} on port {info.port}; live sessions get up to "
            f"{info.drain_s:.0f} s"
        )
    alive = stopping.stop_service(info, force=force)
    if alive:
        pids = ", ".join(map(str, alive))
        waited = "" if force else f" after {patience_s:.0f} s"
        hint = "" if force else f"; use: fast-vc stop --force --port {info.port}"
        raise ServiceError(f"still running{waited}: process {pids}{hint}")
    status.look(temp_dir(find_home()), info.port)
    typer.echo(f"stopped process {info.master_pid} on port {info.port}")


def clean(
    yes: Yes = False,
    outputs: Annotated[
        bool, typer.Option("--outputs", help="Also recordings and converted files in outputs/.")
    ] = False,
    temp: Annotated[bool, typer.Option("--temp", help="Also left-over files in temp/.")] = False,
) -> None:
    """Remove log files, after listing them and asking.

    Files of a running service stay.
    """
    from fast_vc_service.commands import clean as cleanup

    loaded = load(None, None)
    settings = loaded.settings
    services = find_services(settings.temp_dir)
    if services.hidden:
        raise status.hidden_services(services)
    running = services.running
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


def version(as_json: AsJson = False) -> None:
    """Print the version; with --json also what it runs on.

    That is: build, Python, torch and devices.
    """
    if not as_json:
        typer.echo(__version__)
        return
    from fast_vc_service.process import about

    try:
        device = load(None, None).settings.device
    except SettingsError as error:
        device = f"not known: {error}"
    print_json(about.describe(device))


def doctor(
    *,
    profile: Profile = None,
    config: Config = None,
    port: Annotated[
        int | None, typer.Option(help="Port to look at. Default: 8042.", metavar="PORT")
    ] = None,
    engine: Engine = None,
    device: Device = None,
    latency_ms: LatencyMs = None,
    as_json: AsJson = False,
) -> None:
    """Check whether this machine keeps up, and say what to do.

    Measures the delay, the speed and whether streaming changes the audio; looks at libopus, the
    port, folders, devices and voices. Exit status 1: a problem stops the service.
    """
    loaded = load(profile, config, port=port, engine=engine, device=device, latency_ms=latency_ms)
    from fast_vc_service.commands import doctor as examination

    raise typer.Exit(examination.run(loaded.settings, as_json=as_json))


def _not_running(port: int | None) -> typer.Exit:
    typer.echo(f"fast-vc-service is not running{f' on port {port}' if port else ''}", err=True)
    return typer.Exit(status.NOT_RUNNING)


def _print_stale(found: FoundServices) -> None:
    for stale in found.stale:
        what = "ignored an info file that is none" if stale.held else "removed a stale info file"
        typer.echo(f"{what}, {stale.path}: {stale.reason}", err=True)
