"""The ``fast-vc`` command line: parses, calls, prints.

What is slow to import (torch, the settings) is imported by the commands that need it, so that
``status``, ``stop``, ``clean`` and ``version`` answer at once.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from fast_vc_service import __version__
from fast_vc_service.cli import conversion, models, service, sessions, voices
from fast_vc_service.errors import SettingsError, UserError
from fast_vc_service.process.streams import print_anything, reopen_closed

EXIT_WRONG_SETTINGS = 2

_OPTIONS: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

app = typer.Typer(name="fast-vc", no_args_is_help=True, subcommand_metavar="COMMAND", **_OPTIONS)
app.command(epilog="Example: fast-vc serve --port 9000 --max-sessions 8")(service.serve)
app.command("status", epilog="Example: fast-vc status --json")(service.show_status)
app.command(epilog="Example: fast-vc stop --port 9000")(service.stop)
app.command(epilog="Example: fast-vc clean --outputs --yes")(service.clean)
app.command(epilog="Example: fast-vc version --json")(service.version)
app.command(epilog="Example: fast-vc convert talk.wav recordings/ --voice alto")(conversion.convert)
app.command(epilog="Example: fast-vc doctor --engine nano")(service.doctor)
app.command(epilog="Example: fast-vc mic --voice alto --list-devices")(conversion.mic)
app.add_typer(sessions.app, name="session")
app.add_typer(models.app, name="models")
app.add_typer(voices.app, name="voices")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def about(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Real-time voice conversion as a service.

    Start it with `fast-vc serve`, look at it with `fast-vc status`, convert files without it with
    `fast-vc convert`.
    """


def main() -> None:
    """Run the command line."""
    _run(app)


def convert_files() -> None:
    """Run `fast-vc convert` as a command line of its own."""
    alone = typer.Typer(**_OPTIONS)
    alone.command()(conversion.convert)
    _run(alone)


def _run(commands: typer.Typer) -> None:
    """Run a command line; a user's mistake is one line on stderr, not a traceback."""
    reopen_closed()
    print_anything()
    try:
        commands()
    except UserError as error:
        typer.echo(f"fast-vc: {error}", err=True)
        sys.exit(EXIT_WRONG_SETTINGS if isinstance(error, SettingsError) else 1)
