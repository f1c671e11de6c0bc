"""Commands for published models."""

from __future__ import annotations

from typing import Annotated

import typer

from fast_vc_service.cli.common import AsJson, load, print_json

app = typer.Typer(
    no_args_is_help=True, subcommand_metavar="COMMAND", help="Download and check published models."
)


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models and what of them is here.

    With their files, sizes and licences.
    """
    from fast_vc_service.commands import models as tools

    models = tools.describe(load(None, None).settings)
    if as_json:
        print_json({"models": models})
    else:
        typer.echo(tools.as_text(models))


@app.command()
def download(
    model: Annotated[str, typer.Argument(help="Name, as `fast-vc models list` shows it.")],
) -> None:
    """Download what is missing of a model.

    An interrupted download goes on where it stopped.
    """
    from fast_vc_service.commands import models as tools

    for use, path in tools.download(load(None, None).settings, model).items():
        typer.echo(f"{use}: {path}")


@app.command()
def verify(
    models: Annotated[list[str], typer.Argument(help="Names of models.", metavar="MODEL...")],
) -> None:
    """Read the files of models again and compare size and hash."""
    from fast_vc_service.commands import models as tools

    for line in tools.verify(load(None, None).settings, models):
        typer.echo(line)
