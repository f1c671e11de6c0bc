"""What a load at the command line says, and what it does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fast_vc_service.client.errors import VoiceServiceError
from fast_vc_service.client.statistics import ChunkLatency
from fast_vc_service.loadtest.client_report import ClientReport, failed
from fast_vc_service.loadtest.command_line import failures
from fast_vc_service.loadtest.files import link_latest, make_run_folder
from fast_vc_service.loadtest.plot import plot


def busy(number: int) -> ClientReport:
    error = VoiceServiceError("BUSY", "no room", {"hint": "try again"})
    return ClientReport(number, error.as_dict())


def test_refusals_are_counted_with_their_reason_and_a_way_out() -> None:
    reports = [ClientReport(1), busy(2), failed(3, "CONNECTION_LOST", "gone"), busy(4)]
    assert list(failures(reports, waiting=False)) == [
        "client 3 failed: CONNECTION_LOST: gone",
        "2 of 4 clients were refused (2, 4): BUSY: no room\ntry again",
        "with --wait, clients that find no room wait their turn",
    ]
    *_, advice = failures(reports[:2], waiting=True)
    assert "--timeout" in advice


def test_success_says_nothing() -> None:
    assert not list(failures([ClientReport(1), ClientReport(2)], waiting=False))


def test_a_second_run_takes_the_place_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("stays")
    for clients in (3, 1):
        folder = make_run_folder(tmp_path)
        for number in range(1, clients + 1):
            (folder / f"client{number}_stats.json").write_text(str(clients))
        link_latest(folder)
    assert {path.name for path in tmp_path.iterdir() if not path.is_dir()} == {
        "mine.txt",
        "client1_stats.json",
    }
    assert (tmp_path / "client1_stats.json").read_text() == "1"


@pytest.mark.parametrize("real_time", [True, False])
def test_a_plot_is_drawn(tmp_path: Path, real_time: bool) -> None:
    report = ClientReport(1, chunks=[ChunkLatency(1.0, 30.0, 50.0)], output_at=[(1.0, 0.5)])
    plot([report, failed(2, "BUSY", "full")], tmp_path / "p.png", url="ws://h", real_time=real_time)
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "module",
    [
        "fast_vc_service.loadtest.command_line",
        "fast_vc_service.commands.session",
        "benchmarks.load",
        "benchmarks.overhead",
    ],
)
def test_what_draws_nothing_loads_no_matplotlib(module: str) -> None:
    code = f"import sys, {module}; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_load_needs_no_torch() -> None:
    code = "import sys, fast_vc_service.loadtest.command_line; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
