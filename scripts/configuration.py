"""Write docs/configuration.md from the settings; with --check say whether it is up to date.

Usage: python scripts/configuration.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from fast_vc_service.settings.layers import PROFILES, variable_name
from fast_vc_service.settings.model import GROUPS, ApiKey, expectation

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

INTRODUCTION = """\
<!-- Written by scripts/configuration.py from fast_vc_service/settings; do not edit. -->

# Configuration

Every setting has a default; a fresh checkout starts without any of them. A value is taken from
the first of these that gives one:

1. a flag of the command, as `fast-vc serve --port 8043`
2. the environment: `FAST_VC_PORT=8043`
3. the file `.env` in the home, with the same names as the environment
   (start from [.env.example](../.env.example))
4. the profile, a YAML file: `port: 8043`
5. the default below

`fast-vc serve --print-config` shows every value and where it came from; keys are masked.

A name that does not exist, a value out of range or a file that is missing stops the start with
one line that says which, what was expected, what came, and where from. Nothing is ignored and
nothing falls back in silence. Other programs' names are left alone.

## The home

Relative paths in settings hang on the home: the folder `FAST_VC_HOME` names, else the checkout,
else the working directory. `FAST_VC_HOME` can stand in the environment only, since `.env` is
looked for there. Paths given as flags hang on the working directory, as everywhere in a shell.

## Profiles

`env_profile` in the environment or in `.env` (or `fast-vc serve --profile NAME`) chooses the
profile: `profiles/NAME.yaml` under the home if there is one, else a shipped one. Without it,
`prod`. `fast-vc serve --config FILE` takes any YAML file instead.
"""

CLOSING = """\
## Names of others that are read

| variable | what for |
|---|---|
| `FAST_VC_HOME` | the home, see above |
| `FAST_VC_API_KEY` | the key that the example clients present; the service ignores it |
| `env_profile` | the profile, see above |

There is no `workers` setting: one process serves all sessions on one model, and refuses a
configuration that asks for more of them.
"""


def main() -> int:
    """Write or check the page; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if outdated")
    check = parser.parse_args().check
    text = render()
    if not check:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write("docs/configuration.md is outdated; run: python scripts/configuration.py\n")
    return 1


def render() -> str:
    """Return the page."""
    parts = [INTRODUCTION, shipped_profiles()]
    for group in GROUPS:
        parts.append(f"## {group.__name__}\n\n{_paragraph(group)}\n\n{table(group)}")
        if "api_keys" in group.model_fields:
            parts.append(f"Each entry of `api_keys`:\n\n{table(ApiKey)}")
    return "\n".join([*parts, CLOSING])


def shipped_profiles() -> str:
    """Return what each shipped profile sets."""
    rows = ["| shipped profile | sets |", "|---|---|"]
    for path in sorted(PROFILES.glob("*.yaml")):
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        listed = ", ".join(f"`{name}: {value}`" for name, value in values.items())
        rows.append(f"| `{path.stem}` | {listed} |")
    return "\n".join(rows) + "\n"


def table(group: type[BaseModel]) -> str:
    """Return the fields of ``group`` as a Markdown table."""
    top = group is not ApiKey
    rows = [
        "| setting | variable | takes | default | meaning |"
        if top
        else "| name | takes | meaning |",
        "|---|---|---|---|---|" if top else "|---|---|---|",
    ]
    for name, field in group.model_fields.items():
        takes = expectation(name) if top else expectation(name, ApiKey)
        cells = [f"`{name}`", takes, field.description or ""]
        if top:
            cells[1:1] = [f"`{variable_name(name)}`"]
            cells[3:3] = [default(field.default)]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def default(value: Any) -> str:
    """Return a default as YAML would have it."""
    if value is None or value == ():
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _paragraph(group: type[BaseModel]) -> str:
    return " ".join((group.__doc__ or "").split())


if __name__ == "__main__":
    sys.exit(main())
