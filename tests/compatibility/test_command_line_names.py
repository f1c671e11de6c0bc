"""Commands, options, exit codes and settings are as they were recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.compatibility import command_line
from tests.compatibility.comparison import differences
from tests.compatibility.recordings import load


@pytest.fixture(scope="module")
def recorded() -> Any:
    return load("command-line")


def test_commands_and_their_options(recorded: Any) -> None:
    found = differences(recorded["commands"], command_line.commands())
    assert not found, "\n".join(found)


def test_exit_codes(recorded: Any, tmp_path: Path) -> None:
    found = differences(recorded["exit codes"], command_line.exit_codes(tmp_path))
    assert not found, "\n".join(found)


def test_settings_and_their_defaults(recorded: Any, tmp_path: Path) -> None:
    found = differences(recorded["settings"], command_line.settings(tmp_path))
    assert not found, "\n".join(found)


def test_every_variable_is_still_a_setting(recorded: Any, tmp_path: Path) -> None:
    assert command_line.rejected_variables(tmp_path, recorded["settings"]) == {}
