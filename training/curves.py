"""Curves of a training run: one JSON object a line, and a picture of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def append(path: Path, record: dict[str, Any]) -> None:
    """Add one record, numbers rounded to five significant digits."""
    rounded = {
        key: float(f"{value:.5g}") if isinstance(value, float) else value
        for key, value in record.items()
    }
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(rounded) + "\n")


def load(path: Path) -> list[dict[str, Any]]:
    """All records of a run; none when it has not started."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def truncate(path: Path, step: int) -> None:
    """Drop what a resumed run is about to write again."""
    kept = [record for record in load(path) if record["step"] <= step]
    path.unlink(missing_ok=True)
    for record in kept:
        append(path, record)


def draw(path: Path) -> None:
    """A PNG beside ``path`` with one small plot a number."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    records = load(path)
    names = sorted({key for record in records for key in record} - {"step", "time"})
    columns = 4
    rows = max(1, -(-len(names) // columns))
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4 * columns, 2.5 * rows), squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes.flat, names, strict=False):
        points = [(record["step"], record[name]) for record in records if name in record]
        axis.plot(*zip(*points, strict=True), linewidth=1)
        axis.set_title(name, fontsize=9)
        axis.grid(alpha=0.3)
    figure.savefig(path.with_suffix(".png"), dpi=80)
    pyplot.close(figure)
