"""Help at 80 columns: whole, and without bytes for terminals when it is piped."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fast_vc_service import __version__
from fast_vc_service.cli import app

ROOT = Path(__file__).parents[2]
NARROW = {"COLUMNS": "80", "TERMINAL_WIDTH": "80"}


def commands() -> Iterator[tuple[str, ...]]:
    yield ()
    root = typer.main.get_command(app)
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        yield (name,)
        for inner in getattr(command, "commands", {}):
            yield name, inner


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_help_is_whole_at_80_columns(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"], env=NARROW)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for line in lines:
        # Three dots say that an argument can be repeated, never that a text goes on.
        assert not re.search(r"…|[a-z,]\.\.\.", line), line
        # The value of an option has a name that says what it is.
        assert not re.match(r"  -.*<(int|str|float|Path)>", line), line
    if len(command) == 1 and command[0] not in {"session", "models", "voices"}:
        (example,) = (line for line in lines if line.strip().startswith("Example: fast-vc"))
        assert example.split()[2] == command[0]


def test_the_version_is_an_option_and_a_command() -> None:
    for words in (["--version"], ["version"]):
        shown = CliRunner().invoke(app, words)
        assert (shown.exit_code, shown.stdout) == (0, f"{__version__}\n")


def test_a_script_says_its_own_name_and_a_pipe_gets_no_escape_bytes() -> None:
    script = ROOT / "examples/file_conversion/file_vc.py"
    done = subprocess.run(
        [sys.executable, script, "--help"],
        capture_output=True,
        env=os.environ | NARROW,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith(b"Usage: file_vc.py [OPTIONS] [FILE]")
    assert b"\x1b" not in done.stdout
