"""Try the five usual changes on a copy of the repository, and count what each edits by hand.

    python scripts/trial_changes.py [NAME ...] [--write]

A change is a stored patch (scripts/trials/NAME.patch): what somebody would write, its test among
it. On top of it come the commands that write files (the page of the settings, the types of the
messages), and then the checks that such a change has to pass. A change may edit at most four files
by hand. With --write the table in docs/architecture.md is written anew.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pages import ROOT

MOST_FILES = 4
PATCHES = ROOT / "scripts" / "trials"
PAGE = ROOT / "docs" / "architecture.md"

_TABLE = re.compile(r"(?<=<!-- table: trial-changes -->\n\n).*?(?=<!-- end table -->)", re.DOTALL)
_EDITED = re.compile(r"^diff --git a/\S+ b/(\S+)\n(new file)?", re.MULTILINE)


@dataclass(frozen=True)
class Trial:
    """A change that somebody may want to make.

    Attributes:
        name: Of its patch.
        change: What it does.
        written_by: Scripts that write what follows from it.
        tests: What of the tests has to pass, as pytest takes it.
    """

    name: str
    change: str
    tests: tuple[str, ...]
    written_by: tuple[str, ...] = ()

    @property
    def patch(self) -> Path:
        """Where it is stored."""
        return PATCHES / f"{self.name}.patch"

    @property
    def edited(self) -> dict[str, bool]:
        """The files that it edits by hand, and whether each is new."""
        found = _EDITED.findall(self.patch.read_text(encoding="utf-8"))
        return {path: bool(new) for path, new in found}


TRIALS = (
    Trial(
        "engine-family",
        "add an engine family (`ring-modulator`)",
        ("tests/engine/test_laws.py", "tests/settings"),
        ("configuration.py",),
    ),
    Trial(
        "message",
        "add a message (`paced`, from the server)",
        ("tests/sessions/test_session.py", "tests/docs"),
        ("protocol.py",),
    ),
    Trial(
        "setting",
        "add a setting (`log_to_stderr`)",
        ("tests/cli/test_logs.py", "tests/settings"),
        ("configuration.py",),
    ),
    Trial(
        "route",
        "add a route (`GET /clock`)",
        ("tests/server/test_openapi.py", "tests/server/test_http.py"),
    ),
    Trial(
        "late-blocks",
        "change how late blocks are treated (a batch skips at most 8 of a session)",
        ("tests/engine/test_batching.py", "tests/engine/test_scheduler.py"),
    ),
)


def table() -> str:
    """Return the table of the page, made of the patches alone."""
    rows = ["| to | edit by hand |", "|---|---|"]
    for trial in TRIALS:
        files = "<br>".join(
            f"`{'new: ' if new else ''}{path}`" for path, new in trial.edited.items()
        )
        rows.append(f"| {trial.change} | {files} |")
    return "\n".join(rows) + "\n\n"


def problems(page: str) -> Iterator[str]:
    """Yield changes that edit too many files, and whether the table of ``page`` is outdated."""
    for trial in TRIALS:
        if len(trial.edited) > MOST_FILES:
            yield f"{trial.patch.name} edits {len(trial.edited)} files; at most {MOST_FILES} may be"
    found = _TABLE.search(page)
    if found is None or found[0] != table():
        yield "has not the table of the trial changes; run: python scripts/trial_changes.py --write"


@contextmanager
def copy_of_head() -> Iterator[Path]:
    """A work tree of the last commit in a folder of its own; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", tree, "HEAD"], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", tree], check=True)


def run(trial: Trial, tree: Path) -> str | None:
    """Apply ``trial`` in ``tree`` and run its checks; return what failed."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    commands = [
        ["git", "apply", "--3way", str(trial.patch)],
        *([sys.executable, f"scripts/{script}"] for script in trial.written_by),
        *([sys.executable, "-m", "ruff", *check] for check in (["check"], ["format", "--check"])),
        [sys.executable, "scripts/check_docs.py"],
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *trial.tests],
    ]
    for command in commands:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            return f"{' '.join(command)}\n{done.stdout[-3000:]}"
    return None


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="some of them; without, all")
    parser.add_argument("--write", action="store_true", help="write the table, try nothing")
    arguments = parser.parse_args()
    if arguments.write:
        PAGE.write_text(_TABLE.sub(lambda _: table(), PAGE.read_text("utf-8")), "utf-8")
        return 0
    known = {trial.name: trial for trial in TRIALS}
    unknown = sorted(set(arguments.names) - known.keys())
    if unknown:
        parser.error(f"expected names of {', '.join(known)}, got {', '.join(unknown)}")
    failed = 0
    for name in arguments.names or known:
        trial = known[name]
        with copy_of_head() as tree:
            fault = run(trial, tree)
        edited = len(trial.edited)
        passed = fault is None and edited <= MOST_FILES
        failed += not passed
        print(f"{name}: {edited} files by hand, {'checks pass' if passed else 'FAILED'}")
        if fault is not None:
            print(fault)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
