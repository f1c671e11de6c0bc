"""Check that the documentation says what is so; print what is not, exit 1 if anything is.

Links lead somewhere, files named exist, commands and flags named can be typed, JSON parses, each
error and warning code has its entry, the table of rooms says what the import contracts allow,
translations have the structure of their originals, and no file names the host of a package
registry.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

import typer

import trial_changes
from fast_vc_service.cli import app
from fast_vc_service.protocol.codes import ErrorCode, WarningCode
from import_contracts import PACKAGE, Contracts, room_of
from pages import ROOT, Page, load_pages, tracked

SHELL = {"bash", "sh", "console"}
MADE_AT_RUN_TIME = ("outputs/", "logs/", "temp/", "checkpoints/", ".venv/", "profiles/")
TROUBLESHOOTING = "docs/troubleshooting.md"
ARCHITECTURE = "docs/architecture.md"
REGISTRY_HOSTS = re.compile(r"pypi" r"\.org|python" r"hosted|download\.py" r"torch|npm" r"js\.org")
PREFIXES = {"nohup", "sudo", "time", "exec"}


def broken_links(page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    """Yield links to files and headings that are not there."""
    for link in page.links:
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.path.parent / name).resolve() if name else page.path
        if not target.exists():
            yield f"links to {link}, which does not exist"
        elif anchor and target in pages and anchor not in pages[target].anchors:
            yield f"links to {link}, but {target.name} has no such heading"


def missing_files(page: Page) -> Iterator[str]:
    """Yield paths named in inline code that the repository does not have."""
    # What git does not track may be there or not: a service that has run leaves folders behind.
    tops = {path.relative_to(ROOT).parts[0] for path in tracked()}
    for span in page.spans:
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?", span) or span.startswith(MADE_AT_RUN_TIME):
            continue
        package = ROOT / "fast_vc_service" / span
        if span.split("/")[0] in tops and not (ROOT / span).exists() and not package.exists():
            yield f"names {span}, which does not exist"


def commands(page: Page) -> Iterator[list[str]]:
    """Yield the words of every command of ours, in shell blocks and in inline code."""
    lines = [line for kind, code in page.fences if kind in SHELL for line in joined(code)]
    starts = ("fast-vc ", "make ", "uv run fast-vc", "python examples/")
    for line in lines + [span for span in page.spans if span.startswith(starts)]:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for token in [*lexer, ";"]:
            if set(token) <= set(";&|<>"):
                if words:
                    yield words
                words = []
            elif words or not (token in PREFIXES or re.match(r"[A-Za-z_]\w*=", token)):
                words.append(token)


def joined(code: str) -> list[str]:
    """Return the command lines of a shell block; in a console block only what is typed."""
    lines = code.replace("\\\n", " ").splitlines()
    typed = [line[2:] for line in lines if line.startswith("$ ")] or lines
    return [line for line in typed if line.strip() and not line.lstrip().startswith("#")]


@cache
def cli_flags() -> dict[str, set[str]]:
    """Return the flags of each command of the Typer app, ``session show`` for a nested one."""

    def walk(command: object, name: str) -> Iterator[tuple[str, set[str]]]:
        flags = {"--help"}
        for parameter in getattr(command, "params", []):
            flags.update(parameter.opts, parameter.secondary_opts)
        yield name, flags
        for child, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{name} {child}".strip())

    return dict(walk(typer.main.get_command(app), ""))


def cli_command(words: list[str]) -> str | None:
    """Return the name of the command in ``fast-vc WORDS…``, None if there is no such one."""
    names = list(takewhile(lambda word: not word.startswith("-"), words[1:]))
    known = cli_flags()
    for count in (2, 1):
        name = " ".join(names[:count])
        is_group = any(other.startswith(f"{name} ") for other in known)
        if len(names) >= count and name in known and (len(names) == count or not is_group):
            return name
    return None if names else ""


@cache
def script_flags(script: str) -> set[str]:
    """Return the flags that ``python SCRIPT --help`` tells of."""
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    shown = subprocess.run(
        [sys.executable, script, "--help"],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", shown.stdout))


@cache
def make_targets() -> set[str]:
    """Return what `make` can be asked for."""
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def wrong_commands(page: Page) -> Iterator[str]:
    """Yield commands, scripts, targets and flags that cannot be typed."""
    for original in commands(page):
        line = " ".join(original)
        words = original[2:] if original[:2] == ["uv", "run"] else original
        words = words[1:] if words[0].endswith("/fast-vc") else words
        flags = {word.split("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)}
        if words[0] in {"fast-vc", ".venv/bin/fast-vc"}:
            name = cli_command(words)
            if name is None:
                yield f"shows `{line}`: no such command"
            else:
                yield from (f"shows `{line}`: no flag {f}" for f in flags - cli_flags()[name])
        elif words[0] == "make":
            targets = [w for w in words[1:] if "=" not in w and not w.startswith("-")]
            yield from (
                f"shows `{line}`: no target {t}" for t in targets if t not in make_targets()
            )
        elif Path(words[0]).name in {"python", "python3"} and len(words) > 1:
            script = words[1]
            if not script.endswith(".py"):
                continue
            if not (ROOT / script).exists():
                yield f"shows `{line}`: {script} does not exist"
            else:
                unknown = flags - script_flags(script)
                yield from (f"shows `{line}`: no flag {f}" for f in unknown)


def bad_json(page: Page) -> Iterator[str]:
    """Yield JSON blocks that do not parse."""
    for kind, code in page.fences:
        if kind == "json":
            try:
                json.loads(code)
            except ValueError as error:
                yield f"has a JSON block that does not parse ({error}): {code.strip()[:60]}"


def code_entries(page: Page) -> Iterator[str]:
    """Yield error and warning codes without their own heading, and headings without a code."""
    for level, kinds in ((ErrorCode, "Errors"), (WarningCode, "Warnings")):
        section = page.text.partition(f"\n## {kinds}")[2].partition("\n## ")[0]
        titles = set(re.findall(r"^### `?([A-Z_]+)`?", section, re.MULTILINE))
        codes = {code.value for code in level}
        for code in sorted(codes - titles):
            yield f"has no entry for {code} under {kinds}"
        for title in sorted(titles - codes):
            yield f"has an entry for {title} under {kinds}, which is no such code"
    for code in ErrorCode:
        if f"| `{code.value}` | {code.close_code} |" not in page.text:
            yield f"does not say that {code.value} closes with {code.close_code}"


def wrong_rooms(page: Page, contracts: Contracts) -> Iterator[str]:
    """Yield where the table of rooms and the import contracts differ."""
    row = re.compile(rf"^\| `({PACKAGE}/[\w./]+)` \| .+ \| (.+) \|$", re.MULTILINE)
    told = {room_of(path): allowed for path, allowed in row.findall(page.text)}
    if list(told) != contracts.rooms:
        yield f"lists the rooms {', '.join(told)}; the contracts: {', '.join(contracts.rooms)}"
    for room in contracts.rooms:
        allowed = contracts.may_import(room)
        if told.get(room, allowed) != allowed:
            yield f"says that {room} may import: {told[room]}; the contracts: {allowed}"


def structure(page: Page) -> list[str]:
    """Return what a translation must share with its original, in order."""
    marks = re.compile(
        r"^(?:(#{1,6}) |(```\w+)|(<!-- (?:example|table): [\w-]+ -->))", re.MULTILINE
    )
    return ["".join(match) for match in marks.findall(page.text)]


def translation_gaps(page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    """Yield how a translation differs in structure from its original."""
    original_name = re.sub(r"_(zh|ZH)\.md$", ".md", page.path.name)
    if original_name == page.path.name:
        return
    original = pages.get(page.path.with_name(original_name))
    if original is None:
        yield f"translates {original_name}, which does not exist"
    elif structure(page) != structure(original):
        yield f"has not the headings, blocks and examples of {original.name} in the same order"
    elif page.examples != original.examples:
        yield f"has other examples than {original.name}"


def registry_hosts() -> Iterator[str]:
    """Yield files that name the host of a package registry."""
    for path in tracked():
        if REGISTRY_HOSTS.search(path.read_bytes().decode("utf-8", "ignore")):
            yield f"{path.relative_to(ROOT)}: names the host of a package registry"


def main() -> int:
    """Check every page; return the exit status."""
    pages = {page.path: page for page in load_pages()}
    problems = list(registry_hosts())
    for page in pages.values():
        found = [
            *broken_links(page, pages),
            *missing_files(page),
            *wrong_commands(page),
            *bad_json(page),
            *translation_gaps(page, pages),
        ]
        if page.name == TROUBLESHOOTING:
            found += code_entries(page)
        if page.name == ARCHITECTURE:
            found += trial_changes.problems(page.text)
            found += wrong_rooms(page, Contracts((ROOT / "pyproject.toml").read_text()))
        problems += [f"{page.name}: {problem}" for problem in found]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"docs: {len(pages)} pages, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
