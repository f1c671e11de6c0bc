"""What several commands share: their options, and how they read settings and print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fast_vc_service.process.home import find_home

if TYPE_CHECKING:
    from fast_vc_service.settings import LoadedSettings

Profile = Annotated[
    str | None,
    typer.Option(
        help="Profile to use: `prod`, `dev`, or the name of a file in profiles/. Default: "
        "`env_profile` of the environment or .env, else prod.",
        metavar="NAME",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(help="YAML file of settings to use instead of a profile.", metavar="FILE"),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="Model family: nano, world, passthrough, seedvc-tiny, -small or -base.", metavar="NAME"
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Where the model runs: cpu, cuda, or several: cuda:0,cuda:1.", metavar="NAME"
    ),
]
LatencyMs = Annotated[
    int | None,
    typer.Option(
        help="Milliseconds from a sample's arrival to its converted answer. Default: the "
        "engine's own.",
        metavar="MS",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
OnePort = Annotated[
    int | None,
    typer.Option(help="Port of the service meant. Default: the one that runs.", metavar="PORT"),
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]


def load(profile: str | None, config: Path | None, **flags: object) -> LoadedSettings:
    """Read the settings of this call; flags that are None were not given."""
    from fast_vc_service.settings import load_settings

    given = {name: value for name, value in flags.items() if value is not None}
    return load_settings(given, home=find_home(), profile=profile, config=absolute(config))


def absolute(path: Path | None) -> Path | None:
    """Anchor a path of the command line where the user typed it, not at the home."""
    return None if path is None else path.expanduser().absolute()


def print_json(content: dict[str, Any]) -> None:
    """Print for programs."""
    typer.echo(json.dumps(content, indent=2))
