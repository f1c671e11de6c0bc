"""Quality of conversions on unseen people: :mod:`training.evaluate`, kept with the other results.

python -m benchmarks.quality --root DIR --system unconverted --system world
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks import tables
from benchmarks.results import RESULTS, save
from training import evaluate
from training.evaluation import report
from training.evaluation.clips import EvaluationSetError
from training.evaluation.listeners import ToolError
from training.evaluation.systems import UnknownSystemError
from training.paths import DEFAULT_ROOT

SYSTEMS = ["unconverted", "world"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(  # noqa: PLR0917 - options, given by name
    root: Annotated[Path, typer.Option(help="Folder of all stages of the recipe.")] = DEFAULT_ROOT,
    system: Annotated[
        list[str], typer.Option(help="As of training.evaluate; may be repeated.")
    ] = SYSTEMS,
    pairs: Annotated[int | None, typer.Option(help="Only the first N pairs.")] = None,
    whisper: Annotated[str | None, typer.Option(help="Folder or name of a model.")] = None,
    campplus: Annotated[Path | None, typer.Option(help="Weights of CAM++.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
) -> None:
    """Measure quality and write it to the results."""
    options = evaluate.Options(root, tuple(system), pairs=pairs, whisper=whisper, campplus=campplus)
    try:
        content = evaluate.run(options)
    except (EvaluationSetError, ToolError, UnknownSystemError) as error:
        typer.echo(f"benchmarks.quality: {error}", err=True)
        raise typer.Exit(1) from error
    path = save("quality", output, **content)
    report.draw(content, path.with_suffix(".png"))
    typer.echo(tables.of_result(path))
    typer.echo(f"written: {path}")


if __name__ == "__main__":
    app()
