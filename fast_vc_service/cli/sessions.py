"""Commands for recorded sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fast_vc_service.cli.common import AsJson, load, print_json

app = typer.Typer(
    no_args_is_help=True, subcommand_metavar="COMMAND", help="Look at recorded sessions."
)

SessionId = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The session's id, or the beginning of its recording's name."
    ),
]


@app.command("list")
def list_sessions(as_json: AsJson = False) -> None:
    """List recorded sessions, newest day first."""
    from fast_vc_service.commands import session_list

    recordings = session_list.describe(_outputs())
    if as_json:
        print_json({"sessions": recordings})
    else:
        typer.echo(session_list.as_text(recordings))


@app.command()
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
    from fast_vc_service.commands.session_export import export as export_recording

    made = export_recording(_outputs(), session_id, output_dir, as_folder=as_folder)
    typer.echo(made)


@app.command()
def show(
    session_id: SessionId,
    limit: Annotated[
        int, typer.Option(help="Events shown; 0 shows all.", metavar="N", min=0)
    ] = 200,
) -> None:
    """Show what happened in a recorded session, event by event."""
    from rich.console import Console

    from fast_vc_service.commands import session as tools

    Console().print(tools.show(_outputs(), session_id, limit=limit or None))


@app.command()
def stats(
    session_id: SessionId,
    as_json: AsJson = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the histograms into this PNG.", metavar="FILE")
    ] = None,
) -> None:
    """Show a recorded session's latency, jitter and real-time factor."""
    from fast_vc_service.commands import session as tools

    found = tools.stats(_outputs(), session_id)
    if plot is not None:
        tools.plot_histograms(found, plot)
    if as_json:
        print_json(dict(found.figures))
        return
    import yaml

    typer.echo(yaml.safe_dump(dict(found.figures), sort_keys=False))
    typer.echo(tools.histograms_as_text(found))


def _outputs() -> Path:
    return load(None, None).settings.outputs_dir
