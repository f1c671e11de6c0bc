"""Flags of a load at the command line, beside those of one client."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

OUTPUT_DIR = "outputs/concurrent_ws_client"
"""Relative to the checkout."""

DEFAULT_CLIENTS = 5
DEFAULT_TIMEOUT_S = 420.0
MOST_WORKERS = 8

NumClients = Annotated[
    int, typer.Option(help="Clients; all of them run at the same time.", metavar="N", min=1)
]
DelayBetweenStarts = Annotated[
    float, typer.Option(help="Seconds between the starts of two clients.", metavar="S", min=0)
]
MaxWorkers = Annotated[
    int | None,
    typer.Option(
        help="Processes that share the clients. No limit on how many clients run at once: "
        f"all do. Default: as many as clients, at most {MOST_WORKERS}.",
        metavar="N",
        min=1,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(help="Seconds one client may take; then it has failed.", metavar="S", min=0),
]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="A client that finds no room waits its turn, at most as long as --timeout says, "
        "instead of failing. Waiting counts in no latency.",
    ),
]
OutputWavDir = Annotated[
    Path,
    typer.Option(
        help="Where the folder of the run goes.", metavar="FOLDER", show_default=OUTPUT_DIR
    ),
]
