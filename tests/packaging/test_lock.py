"""The lock, the constraints and the project file say the same, or it is said that they do not."""

from __future__ import annotations

import tomllib
from pathlib import Path

import lock
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project() -> str:
    return (ROOT / "pyproject.toml").read_text()


@pytest.fixture
def locked() -> str:
    return (ROOT / "requirements.lock").read_text()


def test_the_committed_files_agree(project: str, locked: str) -> None:
    assert lock.problems(project, locked) == []


def test_every_constraint_is_a_pin_of_the_lock(project: str, locked: str) -> None:
    constraints = tomllib.loads(project)["tool"]["uv"]["constraint-dependencies"]
    assert "torch==2.13.0" in constraints
    assert all(f"\n{entry.split(' ')[0]} " in locked for entry in constraints)


def test_a_changed_dependency_is_noticed(project: str, locked: str) -> None:
    changed = project.replace('"fastapi>=', '"fastapi<1,>=', 1)
    assert changed != project
    assert "dependencies" in lock.problems(changed, locked)[0]


def test_a_changed_constraint_is_noticed(project: str, locked: str) -> None:
    changed = project.replace('"torch==2.13.0"', '"torch==2.12.0"', 1)
    assert changed != project
    assert "constraint-dependencies" in lock.problems(changed, locked)[0]


def test_an_entry_without_hashes_is_noticed(project: str, locked: str) -> None:
    start = locked.index("torch==2.13.0")
    end = locked.index("    # via", start)
    bare = locked[:start] + "torch==2.13.0 ; sys_platform == 'linux' \\\n" + locked[end:]
    assert any("torch" in problem for problem in lock.problems(project, bare))


def test_a_host_in_the_lock_is_noticed(project: str, locked: str) -> None:
    named = locked + "--index-url https://example.org/simple\n"
    assert "requirements.lock names a host" in lock.problems(project, named)


def test_a_name_locked_twice_keeps_its_markers() -> None:
    table = lock.constraints(
        "a==1 ; python_full_version < '3.12' \\\n"
        "    --hash=sha256:00\n"
        "a==2 ; python_full_version >= '3.12' \\\n"
        "    --hash=sha256:00\n"
        "b==3 ; sys_platform == 'linux' \\\n"
        "    --hash=sha256:00\n"
    )
    assert tomllib.loads(table)["constraint-dependencies"] == [
        "a==1 ; python_full_version < '3.12'",
        "a==2 ; python_full_version >= '3.12'",
        "b==3",
    ]
