"""The ``fast-vc`` command line: parses, calls, prints.

What is slow to import (torch, the settings) is imported by the commands that need it, so that
``status``, ``stop``, ``clean`` and ``version`` answer at once.
"""

from __future__ import annotations

import sys

import typer

from fast_vc_service.cli import conversion, models, service, sessions, voices
from fast_vc_service.errors import SettingsError, UserError
from fast_vc_service.process.streams import print_anything, reopen_closed

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
app.command()(service.serve)
app.command("status")(service.show_status)
app.command()(service.stop)
app.command()(service.clean)
app.command()(service.version)
app.command()(conversion.convert)
app.command()(service.doctor)
app.command()(conversion.mic)
app.add_typer(sessions.app, name="session")
app.add_typer(models.app, name="models")
app.add_typer(voices.app, name="voices")


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr, not a traceback."""
    reopen_closed()
    print_anything()
    try:
        app()
    except UserError as error:
        typer.echo(f"fast-vc: {error}", err=True)
        sys.exit(EXIT_WRONG_SETTINGS if isinstance(error, SettingsError) else 1)
