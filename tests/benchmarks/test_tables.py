import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import tables
from benchmarks.overhead import added
from benchmarks.results import RESULTS, load, save

PAGE = "Before.\n\n<!-- table: rtf -->\nold\n<!-- end table -->\n\nAfter.\n"


def figures(value: float) -> dict[str, float]:
    return dict.fromkeys(("mean", "median", "min", "max", "std", "p95", "p99"), value)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    row = {
        "engine": "world",
        "block_ms": 200.0,
        "step_ms": figures(30.0),
        "whole_ms": figures(31.0),
        "rtf": figures(0.155),
    }
    save("rtf", tmp_path, engines=[row])
    return tmp_path


def test_a_result_keeps_its_content_and_says_where_it_holds(results: Path) -> None:
    document = load(results / "rtf.json")
    assert document["benchmark"] == "rtf"
    assert document["engines"][0]["rtf"]["p95"] == 0.155
    assert document["machine"]["cores"] >= 1


def test_a_table_replaces_what_stands_between_its_markers(results: Path) -> None:
    page = tables.updated(PAGE, results)
    assert page.startswith("Before.\n\n<!-- table: rtf -->\n")
    assert page.endswith("<!-- end table -->\n\nAfter.\n")
    assert "| world | 200 | 30.00 | 30.00 | 31.00 | 31.00 | 0.1550 | 0.1550 |" in page
    assert "old" not in page
    assert tables.updated(page, results) == page


def test_a_page_without_a_place_is_an_error(results: Path) -> None:
    with pytest.raises(ValueError, match="found neither"):
        tables.updated("nothing", results)


def test_a_table_without_a_result_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        tables.updated(PAGE, tmp_path)


def test_check_fails_on_a_stale_page_and_changes_nothing(results: Path) -> None:
    page = results / "page.md"
    page.write_text(PAGE)
    where = ["--page", str(page), "--results", str(results)]
    stale = CliRunner().invoke(tables.app, [*where, "--check"])
    assert stale.exit_code == 1
    assert page.read_text() == PAGE
    assert CliRunner().invoke(tables.app, where).exit_code == 0
    assert CliRunner().invoke(tables.app, [*where, "--check"]).exit_code == 0


@pytest.mark.parametrize("name", ["rtf", "overhead", "delay", "block-cost"])
def test_the_published_results_make_tables(name: str) -> None:
    table = tables.of_result(RESULTS / f"{name}.json").splitlines()
    columns = table[0].count("|")
    rows = [line for line in table if line.startswith("|")]
    assert len(rows) >= 3
    assert all(row.count("|") == columns for row in rows)
    assert json.loads((RESULTS / f"{name}.json").read_text())["benchmark"] == name


def test_added_latency_is_the_difference_at_each_percentile() -> None:
    cpu = "server_cpu_ms_per_session_second"
    service = {cpu: 8.0, "latency_ms": {"p50": 3.0, "p99": 9.0}}
    echo = {cpu: 3.0, "latency_ms": {"p50": 1.0, "p99": 4.0}}
    assert added(service, echo) == {cpu: 5.0, "latency_ms": {"p50": 2.0, "p99": 5.0}}


def test_attacks_are_a_table(tmp_path: Path) -> None:
    row = {
        "engine": "nano",
        "kind": "pings",
        "stage": "session",
        "connections": 100,
        "added_late_ms": 12.4,
        "health_ms": float("inf"),
        "silenced_ms": 0.0,
        "added_mb": 3.2,
        "after_mb": -0.4,
    }
    table = tables.of_result(save("hostile", tmp_path, rows=[row]))
    line = "| nano | pings | session | 100 | 12 ms | inf ms | 0 ms | +3 MB | -0 MB |"
    assert line in table.splitlines()
