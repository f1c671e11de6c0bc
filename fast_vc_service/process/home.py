"""Where the service lives on disk: found quickly, before any setting is read."""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from fast_vc_service.errors import SettingsError

HOME_VARIABLE = "FAST_VC_HOME"
TEMP_VARIABLE = "FAST_VC_TEMP_DIR"


def find_home() -> Path:
    """Return the folder that relative paths in settings hang on.

    ``FAST_VC_HOME``, else the checkout this package runs from, else the working directory.

    Raises:
        SettingsError: ``FAST_VC_HOME`` names no folder.
    """
    if named := os.environ.get(HOME_VARIABLE):
        home = Path(named).expanduser().absolute()
        if not home.is_dir():
            raise SettingsError(
                f"{HOME_VARIABLE}: expected an existing folder, got '{named}' (environment)"
            )
        return home
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout
    return Path.cwd()


def read_dotenv(home: Path) -> dict[str, str]:
    """Return what ``<home>/.env`` sets; empty when there is no such file.

    Raises:
        SettingsError: A line of the file cannot be read.
    """
    path = home / ".env"
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f".env: expected a readable UTF-8 file, got {error} ({path})"
        ) from error
    for binding in parse_stream(StringIO(text)):
        # The library only logs a broken line; a setting lost in silence would be worse.
        if binding.error:
            raise SettingsError(
                f".env: expected NAME=value, got a line that cannot be read "
                f"({path}, line {binding.original.line})"
            )
    values = dotenv_values(stream=StringIO(text))
    return {name: value for name, value in values.items() if value is not None}


def temp_dir(home: Path) -> Path:
    """Return the folder of service-info files.

    Set by environment or ``.env`` only, never by a profile, so that ``status`` and ``stop`` find
    a service whatever profile it runs with.

    Raises:
        SettingsError: ``.env`` cannot be read.
    """
    named = os.environ.get(TEMP_VARIABLE) or read_dotenv(home).get(TEMP_VARIABLE) or "temp"
    return home / Path(named).expanduser()
