"""Record what later versions are compared with.

    python -m tests.compatibility.record              # transcripts of the wire and conversions
    python -m tests.compatibility.record http state   # what is named

Without names what changes with the sound of the engines is recorded anew: ``wire`` and
``conversions``. ``state`` is meant to stay as 08b3106 left it, since it stands for the disks of
those who upgrade. What is recorded is what the code does now, so look at the difference in Git
before it is committed: each line that is changed or gone breaks a promise to clients.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Where helpers of all tests lie; pytest adds it because of the conftest.py there.
sys.path.append(str(Path(__file__).parents[1]))

from tests.compatibility import (
    command_line,
    conversion,
    http_surface,
    python_names,
    state,
    state_reading,
    wire_transcripts,
)
from tests.compatibility.recordings import STATE, save
from tests.compatibility.same_results import machine
from tests.compatibility.services import OPEN, STRICT, running

RENEWED = ("wire", "conversions")


def record_wire(home: Path) -> Any:
    with running(home / "open", **OPEN) as service:
        transcripts = {"open": wire_transcripts.with_open_service(service)}
    with running(home / "strict", **STRICT) as service:
        transcripts["strict"] = wire_transcripts.with_strict_service(service)
    transcripts["nano"] = wire_transcripts.with_nano(home / "nano")
    return {"machine": machine(), "transcripts": transcripts}


def record_conversions(home: Path) -> Any:
    engines: dict[str, Any] = {}
    for engine in conversion.ENGINES:
        (home / engine).mkdir(parents=True)
        engines[engine] = conversion.convert_clips(engine, home / engine)
    return {"machine": machine(), "engines": engines}


def record_http(home: Path) -> Any:
    with running(home / "open", **OPEN) as service:
        found = {"open": http_surface.of_open_service(service)}
    with running(home / "strict", **STRICT) as service:
        found["strict"] = http_surface.of_strict_service(service)
    return found


def record_command_line(home: Path) -> Any:
    return {
        "commands": command_line.commands(),
        "exit codes": command_line.exit_codes(home / "codes"),
        "settings": command_line.settings(home / "settings"),
    }


def record_python_names(home: Path) -> Any:
    return python_names.public_names()


def record_state(home: Path) -> Any:
    """Write a folder of state, and what can be read of a copy of it."""
    state.write(STATE)
    return state_reading.read(home / "copy")


RECORDERS: dict[str, Callable[[Path], Any]] = {
    "wire": record_wire,
    "conversions": record_conversions,
    "http": record_http,
    "command-line": record_command_line,
    "python-names": record_python_names,
    "state": record_state,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.compatibility.record",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help=", ".join(RECORDERS))
    names = parser.parse_args().name or RENEWED
    if unknown := [name for name in names if name not in RECORDERS]:
        parser.error(f"expected some of {', '.join(RECORDERS)}, got {', '.join(unknown)}")
    for name in names:
        with tempfile.TemporaryDirectory(prefix="fast-vc-record-") as home:
            path = save(name, RECORDERS[name](Path(home)))
        sys.stdout.write(f"{name}: {path.relative_to(Path.cwd())}\n")


if __name__ == "__main__":
    main()
