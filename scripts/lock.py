"""Keep ``requirements.lock`` and the constraints in ``pyproject.toml`` in step.

``python scripts/lock.py``            resolve again under the constraints: what is new is added
``python scripts/lock.py --upgrade``  resolve anew, to the newest that ``exclude-newer`` allows
``python scripts/lock.py --check``    say whether the two files agree; reads nothing else

The lock names every package of every supported platform and Python, with version and hashes, and
no host. The constraints repeat its versions for ``uv sync``, which reads no requirements file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = "requirements.lock"
PROJECT = "pyproject.toml"
APART = ("cluster", "media")
"""The extras whose own packages come last in the lock: `make setup` leaves them out."""

APART_HEADER = "# What the extra {} alone needs:\n"
CONSTRAINTS = re.compile(r"^constraint-dependencies = \[\n(?:.*\n)*?\]\n", re.MULTILINE)
PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\]+?))? \\$"
)


def inputs_digest(project: str) -> str:
    """Return a digest of everything in ``pyproject.toml`` that decides the resolution."""
    data = tomllib.loads(project)
    uv = data["tool"]["uv"]
    extras = data["project"].get("optional-dependencies", {})
    inputs = [
        data["project"]["requires-python"],
        sorted(data["project"]["dependencies"]),
        {name: sorted(entries) for name, entries in extras.items()},
        {name: sorted(entries) for name, entries in data["dependency-groups"].items()},
        {key: uv[key] for key in ("exclude-newer", "environments", "fork-strategy")},
    ]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def header(project: str) -> str:
    """Return the first lines of the lock; they bind it to its inputs."""
    return (
        "# Every package of an installation, for every supported platform and Python.\n"
        f"# Written by scripts/lock.py from {PROJECT}; do not edit.\n"
        f"# inputs-sha256: {inputs_digest(project)}\n"
    )


def constraints(lock: str) -> str:
    """Return the ``constraint-dependencies`` table that says what ``lock`` says.

    A marker is kept only where a name has several versions; elsewhere it would only leave the
    package free on the platforms that the marker excludes.
    """
    pins = [match for match in map(PIN.match, lock.splitlines()) if match]
    names = [pin["name"] for pin in pins]
    lines = []
    for pin in pins:
        entry = f"{pin['name']}=={pin['version']}"
        if names.count(pin["name"]) > 1 and pin["marker"]:
            entry += f" ; {pin['marker']}"
        lines.append(f"    {json.dumps(entry)},\n")
    return "constraint-dependencies = [\n" + "".join(lines) + "]\n"


def with_constraints(project: str, lock: str) -> str:
    """Return ``pyproject.toml`` with the constraints that ``lock`` asks for."""
    return CONSTRAINTS.sub(lambda _: constraints(lock), project, count=1)


def resolve(project: str) -> str:
    """Resolve ``project`` with uv, away from the settings and the lock of this checkout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("UV_")}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / PROJECT).write_text(project)
        subprocess.run(["uv", "lock", "--quiet"], cwd=folder, env=environment, check=True)

        def export(*without: str) -> list[str]:
            command = ["uv", "export", "--frozen", "--all-groups", "--all-extras"]
            command += ["--no-emit-project", "--no-header"]
            command += [f"--no-extra={extra}" for extra in without]
            found = subprocess.run(
                command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE
            )
            return entries(found.stdout.decode())

        usual = export(*APART)
        pinned = {entry.split(" ")[0] for entry in usual}
        parts = [header(project), *usual]
        for extra in APART:
            own = export(*(other for other in APART if other != extra))
            parts.append(APART_HEADER.format(extra))
            parts += [entry for entry in own if entry.split(" ")[0] not in pinned]
        return "".join(parts)


def entries(lock: str) -> list[str]:
    """Cut a lock into its packages, each with its hashes."""
    return re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]


def problems(project: str, lock: str) -> list[str]:
    """Say in what the two files disagree, or where the lock is not what it promises to be."""
    found = []
    if not lock.startswith(header(project)):
        found.append(f"the dependencies in {PROJECT} are not those {LOCK} was made from")
    if with_constraints(project, lock) != project:
        found.append(f"constraint-dependencies in {PROJECT} are not the versions of {LOCK}")
    packages = entries(lock)
    if not packages:
        found.append(f"{LOCK} pins nothing")
    for entry in packages:
        line = entry.splitlines()[0]
        if not PIN.match(line) or "--hash=sha256:" not in entry:
            found.append(f"{LOCK}: expected NAME==VERSION with hashes, got {line!r}")
    if "://" in lock:
        found.append(f"{LOCK} names a host")
    return found


def main() -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="compare only; needs no network")
    mode.add_argument("--upgrade", action="store_true", help="take the newest versions allowed")
    arguments = parser.parse_args()

    project = (ROOT / PROJECT).read_text()
    path = ROOT / LOCK
    if arguments.check:
        found = problems(project, path.read_text())
        for problem in found:
            print(f"lock: {problem}; run: python scripts/lock.py", file=sys.stderr)
        return 1 if found else 0
    if not CONSTRAINTS.search(project):
        print(f"lock: {PROJECT} has no constraint-dependencies = [ … ] to write", file=sys.stderr)
        return 1
    if arguments.upgrade:
        project = with_constraints(project, "")
    try:
        lock = resolve(project)
    except subprocess.CalledProcessError as error:
        print(f"lock: {error.cmd[:2]} failed, see above", file=sys.stderr)
        return 1
    path.write_text(lock)
    (ROOT / PROJECT).write_text(with_constraints(project, lock))
    return 0


if __name__ == "__main__":
    sys.exit(main())
