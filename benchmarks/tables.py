"""The tables of docs/performance.md, made from the JSON of the benchmarks.

    python -m benchmarks.tables            # writes them
    python -m benchmarks.tables --check    # exit 1 when the page does not say what the JSON says

A table stands between ``<!-- table: NAME -->`` and ``<!-- end table -->``, where
``benchmarks/results/NAME.json`` holds its figures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.results import RESULTS, ROOT, load
from training.evaluation import report

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

PAGE = ROOT / "docs" / "performance.md"

_PLACE = re.compile(
    r"(?P<begin><!-- table: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end table -->)", re.DOTALL
)


def of_result(path: Path) -> str:
    """Return the Markdown table of one result file, with a line on where it was measured."""
    result = load(path)
    machine = result["machine"]
    place = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"
    date = result["measured"].partition("T")[0]
    # load-nano, seedvc-two: what follows tells results of a kind apart.
    table = _TABLES[result["benchmark"].partition("-")[0]]
    return f"{table(result)}\nMeasured {date} on {place}.\n"


def updated(page: str, results: Path) -> str:
    """Return ``page`` with each of its tables made anew from ``results``.

    Raises:
        FileNotFoundError: The page has a table without a result.
        ValueError: The page has no table.
    """
    if not _PLACE.search(page):
        raise ValueError("expected '<!-- table: NAME -->' and '<!-- end table -->', found neither")

    def made(place: re.Match[str]) -> str:
        table = of_result(results / f"{place['name']}.json")
        return f"{place['begin']}\n{table}\n{place['end']}"

    return _PLACE.sub(made, page)


def _rtf(result: dict[str, Any]) -> str:
    rows = [
        (
            row["engine"],
            f"{row['block_ms']:.0f}",
            *(f"{row['step_ms'][name]:.2f}" for name in ("median", "p95")),
            *(f"{row['whole_ms'][name]:.2f}" for name in ("median", "p95")),
            *(f"{row['rtf'][name]:.4f}" for name in ("median", "p95")),
        )
        for row in result["engines"]
    ]
    titles = (
        "engine",
        "block ms",
        "step p50 ms",
        "step p95 ms",
        "block p50 ms",
        "block p95 ms",
        "RTF p50",
        "RTF p95",
    )
    return _markdown(titles, rows)


def _runtimes(result: dict[str, Any]) -> str:
    rows = [
        (
            row["name"],
            *(f"{row['step_ms'][name]:.1f}" for name in ("median", "p95")),
            *(f"{row['rtf'][name]:.3f}" for name in ("median", "p95")),
            f"{row['error_db']:.2f}",
            f"{row['first_step_s']:.1f}",
        )
        for row in result["rows"]
    ]
    titles = (
        "networks of nano",
        "step p50 ms",
        "step p95 ms",
        "RTF p50",
        "RTF p95",
        "error dB",
        "first step s",
    )
    return _markdown(titles, rows)


def _soak(result: dict[str, Any]) -> str:
    minutes = result["minutes"]
    last = len(minutes) - 1
    shown = sorted({0, 1, *(round(last * part / 4) for part in range(1, 5))})
    rows = [
        (
            f"{row['minute']:.0f}",
            f"{row['memory_mb']:.0f}",
            f"{row['level_db']:+.1f}",
            f"{row['lag_ms']:.0f}",
            f"{row['rtf']:.3f}",
        )
        for row in (minutes[index] for index in shown)
    ]
    return _markdown(("minute", "memory MB", "level dB", "offset ms", "CPU-s / s"), rows)


def _overhead(result: dict[str, Any]) -> str:
    cpu = "server_cpu_ms_per_session_second"

    def latency(figures: dict[str, Any]) -> str:
        return " / ".join(f"{figures['latency_ms'][name]:.2f}" for name in ("p50", "p95", "p99"))

    rows = [
        (
            str(level["sessions"]),
            f"{level['service'][cpu]:.2f}",
            f"{level['echo'][cpu]:.2f}",
            f"{level['service']['client_cpu_ms_per_session_second']:.2f}",
            latency(level["service"]),
            latency(level["echo"]),
            latency(level["added"]),
            f"{level['service']['silenced_ms']:.0f}",
        )
        for level in result["levels"]
    ]
    titles = (
        "sessions",
        "service CPU, ms/s",
        "echo CPU, ms/s",
        "clients' CPU, ms/s",
        "service p50 / p95 / p99 ms",
        "echo p50 / p95 / p99 ms",
        "added p50 / p95 / p99 ms",
        "silenced ms",
    )
    return _markdown(titles, rows)


def _delay(result: dict[str, Any]) -> str:
    rows = [
        (
            row["engine"],
            "yes" if row["trim_delay"] else "no",
            f"{row['chunk_ms']}",
            f"{row['declared_offset_ms']:.1f}",
            *(_signed(row["offset_ms"][name]) for name in ("median", "min", "max")),
            f"{row['declared_latency_ms']:.1f}",
            *(f"{row['heard_after_ms'][name]:.1f}" for name in ("median", "p99")),
        )
        for row in result["runs"]
    ]
    titles = (
        "engine",
        "trimmed",
        "chunk ms",
        "declared offset ms",
        "offset p50 ms",
        "min ms",
        "max ms",
        "declared latency ms",
        "heard after, p50 ms",
        "heard after, p99 ms",
    )
    return _markdown(titles, rows)


def _seedvc(result: dict[str, Any]) -> str:
    rows = []
    for preset in result["presets"]:
        baselines = {
            row["batch"]: row["cpu_ms"] for row in reversed(preset["rows"])
        }  # of each batch the first row stays
        rows += [
            (
                f"{preset['preset']}, {preset['steps']} steps, {preset['block_ms']} ms",
                str(row["batch"]),
                row["step"],
                f"{row['cpu_ms']:.0f}",
                f"{baselines[row['batch']] / row['cpu_ms']:.2f}",
                f"{row['max_error']:.0e}",
                f"{row['mel_error_db']:.0f}" if row["max_error"] else "",
            )
            for row in preset["rows"]
        ]
    titles = (
        "preset, block",
        "sessions",
        "what is done",
        "CPU ms a block",
        "gain",
        "max error",
        "mel error dB",
    )
    return _markdown(titles, rows)


def _load(result: dict[str, Any]) -> str:
    rows = []
    for system in result["systems"]:
        levels = {level["sessions"]: level for level in system["levels"] if "failed" not in level}
        full = levels.get(system["carried"])
        alike = levels.get(result["memory_sessions"])
        rows.append(
            (
                system["system"],
                str(system["carried"]),
                _three(full["latency_ms"]) if full else "—",
                f"{full['rtf_p95']:.2f}" if full and full["rtf_p95"] is not None else "—",
                f"{full['server_cores']:.2f}" if full else "—",
                f"{full['client_cores']:.2f}" if full else "—",
                f"{full['silenced_ms']:.0f}" if full else "—",
                f"{alike['latency_ms']['p99']:.1f}" if alike else "—",
                f"{alike['memory_pss_mb']:.0f}" if alike else "—",
            )
        )
    alike_at = result["memory_sessions"]
    titles = (
        f"{result['engine']}, block {result['block_ms']:.0f} ms",
        "sessions that fit",
        "p50 / p95 / p99 ms then",
        "RTF p95",
        "cores, server",
        "cores, clients",
        "silenced ms",
        f"p99 ms at {alike_at}",
        f"memory MB at {alike_at}",
    )
    return _markdown(titles, rows)


def _block_cost(result: dict[str, Any]) -> str:
    costs = result["microseconds"]
    rows = [(stage, f"{cost:.1f}") for stage, cost in costs.items()]
    return _markdown(("stage", "µs a block"), [*rows, ("all", f"{sum(costs.values()):.1f}")])


def _three(figures: dict[str, float]) -> str:
    return " / ".join(f"{figures[name]:.1f}" for name in ("p50", "p95", "p99"))


def hostile_row(row: dict[str, Any]) -> str:
    """Return one attack of :mod:`benchmarks.hostile` as a line of a table."""
    return (
        f"| {row['engine']} | {row['kind']} | {row['stage']} | {row['connections']} "
        f"| {row['added_late_ms']:.0f} ms | {row['health_ms']:.0f} ms "
        f"| {row['silenced_ms']:.0f} ms | {row['added_mb']:+.0f} MB | {row['after_mb']:+.0f} MB |"
    )


def _hostile(result: dict[str, Any]) -> str:
    head = (
        "| engine | attack | stage | connections | added lateness | slowest `/health` "
        "| silenced | memory | after |\n|---|---|---|---:|---:|---:|---:|---:|---:|"
    )
    return "\n".join([head, *map(hostile_row, result["rows"])]) + "\n"


def _onset(result: dict[str, Any]) -> str:
    ways = {"live": "live, unknown", "known": "live, known", "file": "file"}
    rows = [
        (
            engine,
            title,
            *(
                f"{median:.1f} / {p90:.1f}"
                for median, p90 in zip(figures[way]["median"], figures[way]["p90"], strict=True)
            ),
        )
        for engine, figures in result["engines"].items()
        for way, title in ways.items()
    ]
    return _markdown(("engine", "way", *(f"{each:g} s" for each in result["voiced_s"])), rows)


_TABLES = {
    "hostile": _hostile,
    "onset": _onset,
    "rtf": _rtf,
    "runtimes": _runtimes,
    "soak": _soak,
    "load": _load,
    "block": _block_cost,
    "overhead": _overhead,
    "delay": _delay,
    "quality": report.table,
    "seedvc": _seedvc,
}


def _signed(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 0.05 else "0.0"


def _markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


@app.command()
def main(
    check: Annotated[bool, typer.Option("--check", help="Change nothing, only compare.")] = False,
    page: Annotated[Path, typer.Option(help="The page.")] = PAGE,
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Make the tables of the performance page from the results."""
    before = page.read_text()
    after = updated(before, results)
    if after == before:
        return
    if check:
        typer.echo(f"{page}: its tables differ from {results}; run: python -m benchmarks.tables")
        raise typer.Exit(1)
    page.write_text(after)
    typer.echo(f"{page}: tables written")


if __name__ == "__main__":
    app()
