"""Commands for voices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fast_vc_service.cli.common import AsJson, Engine, Yes, load, print_json

app = typer.Typer(
    no_args_is_help=True, subcommand_metavar="COMMAND", help="List, check, add and remove voices."
)

Owner = Annotated[
    str | None,
    typer.Option(help="Name of the API key it belongs to. Default: everybody's.", metavar="NAME"),
]
VoiceName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the voice.")]


@app.command("list")
def list_voices(as_json: AsJson = False) -> None:
    """List all voices, whoever owns them.

    They are the clips of voices_dir, and those that were added.
    """
    from fast_vc_service.commands import voices as tools

    voices = tools.describe(load(None, None).settings)
    if as_json:
        print_json({"voices": voices})
    else:
        typer.echo(tools.as_text(voices))


@app.command("check")
def check_voices(
    clips: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files.")],
    as_json: AsJson = False,
) -> None:
    """Tell whether clips make good voices.

    Says what would make them better. Exit status 1: at least one makes none.
    """
    from fast_vc_service.commands import voices as tools

    checks = tools.check(load(None, None).settings, clips)
    if as_json:
        print_json({"clips": checks})
    else:
        typer.echo(tools.checks_as_text(checks))
    raise typer.Exit(1 if any(check["problems"] for check in checks) else 0)


@app.command("add")
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
    from fast_vc_service.commands import voices as tools

    settings = load(None, None, engine=engine).settings
    check = tools.add(settings, name, clip, consent=consent, description=description, owner=owner)
    typer.echo(f"added {name}")
    for doubt in check["doubts"]:
        typer.echo(f"{name}: {doubt}", err=True)


@app.command("remove")
def remove_voice(name: VoiceName, owner: Owner = None, yes: Yes = False) -> None:
    """Remove a voice that was added, with its clip.

    Clips of voices_dir stay.
    """
    from fast_vc_service.commands import voices as tools

    settings = load(None, None).settings
    tools.find_added(settings, name, owner)
    if not yes and not typer.confirm(f"Remove the voice {name!r} with its clip?"):
        typer.echo("nothing was removed", err=True)
        raise typer.Exit(1)
    tools.remove(settings, name, owner)
    typer.echo(f"removed {name}")


@app.command("export")
def export_voice(
    name: VoiceName,
    output: Annotated[
        Path | None, typer.Option(help="ZIP file to write. Default: NAME.zip.", metavar="FILE")
    ] = None,
    owner: Owner = None,
) -> None:
    """Write a voice into one file for another service.

    It holds the clip and the description.
    """
    from fast_vc_service.commands import voices as tools

    typer.echo(tools.export(load(None, None).settings, name, output, owner))


@app.command("import")
def import_voice(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `voices export` wrote.")],
    name: Annotated[str | None, typer.Option(help="Another name for it.", metavar="NAME")] = None,
    owner: Owner = None,
    engine: Engine = None,
) -> None:
    """Add a voice that another service exported.

    Its clip is checked and made a voice anew.
    """
    from fast_vc_service.commands import voices as tools

    settings = load(None, None, engine=engine).settings
    typer.echo(f"added {tools.import_(settings, file, name, owner)}")
