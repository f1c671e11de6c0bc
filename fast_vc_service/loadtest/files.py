"""The files of a run of clients that send a clip (spec: clients, concurrent_ws_client.py)."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from fast_vc_service.audio.files import write_audio
from fast_vc_service.client.run import Outcome
from fast_vc_service.loadtest.client_report import ClientReport

SUMMARY_NAME = "summary.json"
PLOT_NAME = "latency.png"


def make_run_folder(parent: Path) -> Path:
    """Make and return a new folder in ``parent``, named by the time.

    Raises:
        OSError: It cannot be made.
    """
    folder = parent / f"{datetime.now(UTC).astimezone():%Y%m%d-%H%M%S-%f}"
    folder.mkdir(parents=True)
    return folder


def save_client(folder: Path, report: ClientReport, outcome: Outcome, *, audio: bool) -> None:
    """Write the statistics, the result and, if wanted, the audio of one client.

    Raises:
        OSError: A file cannot be written.
        AudioFileError: The audio cannot be written.
    """
    stem = f"client{report.number}"
    if audio and len(outcome.output):
        write_audio(folder / f"{stem}_output.wav", outcome.output, outcome.plan.sample_rate_out)
    write_json(folder / f"{stem}_stats.json", report.statistics)
    save_result(
        folder,
        report,
        session_id=None if outcome.ready is None else outcome.ready.session_id,
        duration_in_s=outcome.duration_in_s,
        duration_out_s=outcome.duration_out_s,
        waited_s=report.waited_s,
        server_stats=report.server_stats,
        warnings=[asdict(warning) for warning in outcome.warnings],
        send_timeline=[entry.as_dict() for entry in outcome.timeline.sends],
        recv_timeline=[entry.as_dict() for entry in outcome.timeline.recvs],
    )


def save_result(folder: Path, report: ClientReport, **content: object) -> None:
    """Write the result of one client, with ``content`` as far as it is known.

    Raises:
        OSError: The file cannot be written.
    """
    write_json(
        folder / f"client{report.number}_result.json",
        {"client": report.number, "success": report.success, "error": report.error, **content},
    )


def write_json(path: Path, content: object) -> None:
    """Write ``content`` as indented JSON.

    Raises:
        OSError: The file cannot be written.
    """
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def link_latest(folder: Path) -> None:
    """Make the files of ``folder`` be found in its parent too, in place of an earlier run's.

    Raises:
        OSError: Links cannot be made, or a real file has the name of one.
    """
    parent = folder.parent
    ours = re.compile(
        rf"client\d+_(?:result|stats)\.json|client\d+_output\.wav|{SUMMARY_NAME}|{PLOT_NAME}"
    )
    for path in parent.iterdir():
        if path.is_symlink() and ours.fullmatch(path.name):
            path.unlink()
    for path in folder.iterdir():
        (parent / path.name).symlink_to(path.relative_to(parent))
