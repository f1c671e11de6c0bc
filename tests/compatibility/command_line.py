"""The command line as a user sees it: commands, options, exit codes, settings."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from tests.e2e.service import ROOT, environment, free_port

COMMANDS = (
    *("", "serve", "status", "stop", "clean", "version", "convert", "doctor", "mic"),
    *("session", "session export", "session show", "session stats"),
    *("models", "models list", "models download", "models verify"),
    *("voices", "voices list", "voices check", "voices add", "voices remove"),
    *("voices export", "voices import"),
)

_OPTION = re.compile(r"^  (?P<names>-{1,2}[a-z][^ ,]*(?:, -{1,2}[a-z][^ ]*)*) ?(?P<metavar>\S+)?")
_ARGUMENT = re.compile(r"^  (?P<name>\S+)(?: (?P<kind><[^>]+>))?(?:  |$)")


def commands() -> dict[str, Any]:
    """Return options and arguments of every command, as its help shows them."""
    return {f"fast-vc {command}".strip(): _described(command) for command in COMMANDS}


def exit_codes(home: Path) -> dict[str, int]:
    """Return how commands end that cannot do, or have nothing of, what they are asked."""
    broken = home / "broken.wav"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(b"no audio")
    passthrough = ("--engine", "passthrough")
    cases: dict[str, tuple[str, ...]] = {
        "nothing asked": (),
        "an unknown command": ("dance",),
        "an unknown option": ("status", "--dance"),
        "help": ("--help",),
        "version": ("version",),
        "status of nothing": ("status",),
        "status of nothing as JSON": ("status", "--json", "--port", str(free_port())),
        "stop of nothing": ("stop",),
        "clean of nothing": ("clean", "-y"),
        "serve with a wrong engine": ("serve", "--engine", "robot"),
        "serve with an unknown profile": ("serve", "--profile", "nowhere"),
        "serve with a missing file": ("serve", "--config", "nowhere.yaml"),
        "serve to all without keys": ("serve", "--host", "0.0.0.0", *passthrough),
        "print the settings": ("serve", "--print-config"),
        "convert a missing file": ("convert", "nowhere.wav", *passthrough),
        "convert a broken file": ("convert", str(broken), *passthrough),
        "convert with both voices": ("convert", "--voice", "a", "--reference-wav-path", "b"),
        "convert to an unknown voice": ("convert", "--voice", "nobody", *passthrough),
        "an unknown recording": ("session", "show", "nobody"),
        "an unknown model": ("models", "verify", "nothing"),
        "the models": ("models", "list"),
        "the voices": ("voices", "list"),
        "check a broken clip": ("voices", "check", str(broken)),
        "add a voice without consent": ("voices", "add", "anna", str(broken)),
        "remove an unknown voice": ("voices", "remove", "nobody", "-y"),
        "import a missing file": ("voices", "import", "nowhere.zip"),
    }
    variables = environment(home)
    with working_in(home, variables):
        return {case: run(*arguments)[0] for case, arguments in cases.items()}


def settings(home: Path) -> dict[str, Any]:
    """Return every setting with its default, its environment variable and what it takes."""
    home.mkdir(parents=True, exist_ok=True)
    variables = {
        name: value
        for name, value in environment(home).items()
        if name == "FAST_VC_HOME" or not name.startswith("FAST_VC_")
    }
    with working_in(home, variables):
        status, printed, _ = run("serve", "--print-config")
    assert status == 0
    defaults = yaml.safe_load(printed)
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.+?) \| (.+?) \|", page, re.MULTILINE)
    documented = {name: {"variable": variable, "takes": t} for name, variable, t, _ in rows}
    found: dict[str, Any] = {}
    for name, default in defaults.items():
        shown = default
        if isinstance(default, str):
            shown = default.replace(str(ROOT), "<project>").replace(str(home), "<home>")
        found[name] = {"default": shown, **documented[name]}
    return found


def rejected_variables(home: Path, known: Mapping[str, Any]) -> dict[str, str]:
    """Return what the service says to variables that are set to their defaults; nothing is right.

    Args:
        home: Folder for whatever is written.
        known: Settings, as :func:`settings` returns them.
    """
    given = {
        setting["variable"]: _as_text(setting["default"], home)
        for setting in known.values()
        if setting["default"] not in (None, [])
    }
    base = {k: v for k, v in environment(home).items() if not k.startswith("FAST_VC_")}
    with working_in(home, base | given | {"FAST_VC_HOME": str(home)}):
        status, printed, complaint = run("serve", "--print-config")
    if status != 0:
        return {"all": complaint}
    sources = {
        line.partition(":")[0]: line.rpartition("# ")[2]
        for line in printed.splitlines()
        if re.match(r"\w+: ", line)
    }
    return {
        name: f"is taken from {sources.get(name)}"
        for name, setting in known.items()
        if setting["variable"] in given and "environment" not in sources.get(name, "")
    }


def _described(command: str) -> dict[str, Any]:
    status, printed, _ = run(*command.split(), "--help")
    assert status == 0, command
    found: dict[str, Any] = {"arguments": {}, "options": {}, "commands": {}}
    section = ""
    for line in printed.splitlines():
        if not line.startswith(" "):
            section = line.partition(":")[0].lower()
        elif section == "options" and (option := _OPTION.match(line)):
            # What a longer name leaves no room for is on the next line; the name is enough then.
            metavar = option["metavar"] if line[option.end() :][:2] in {"  ", ""} else None
            for name in option["names"].split(", "):
                found["options"][name] = {"value": metavar}
        elif section == "arguments" and (argument := _ARGUMENT.match(line)):
            if argument["name"].isupper() or argument["name"].startswith("["):
                found["arguments"][argument["name"]] = {"required": "[required]" in line}
        elif section == "commands" and (named := re.match(r"^  ([a-z][\w-]*)  ", line)):
            found["commands"][named[1]] = True
    return found


def run(*arguments: str) -> tuple[int, str, str]:
    """Run ``python -m fast_vc_service`` in this process: what is imported stays imported.

    Returns:
        Exit status, and what was printed on stdout and on stderr.
    """
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    with (
        mock.patch.object(sys, "argv", ["fast-vc", *arguments]),
        mock.patch.dict(os.environ, {"COLUMNS": "200", "TERMINAL_WIDTH": "200"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_module("fast_vc_service", run_name="__main__", alter_sys=False)
        except SystemExit as end:
            status = end.code
    return (0 if status is None else int(str(status))), out.getvalue(), err.getvalue()


@contextlib.contextmanager
def working_in(home: Path, variables: Mapping[str, str]) -> Iterator[None]:
    with mock.patch.dict(os.environ, variables, clear=True), contextlib.chdir(home):
        yield


def _as_text(value: Any, home: Path) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace("<home>", str(home)).replace("<project>", str(ROOT))
