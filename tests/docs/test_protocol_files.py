"""What repeats the protocol's definition says what it says, and the check notices when it does not.

A copy of the definition, and of what is written of it, is changed; the script is run on the copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pages import ROOT
from protocol import ASYNCAPI, DECLARATIONS, OPTION_NAMES, PAGES, PYTHON_TYPES

API_PAGES, TROUBLESHOOTING = PAGES[:2], PAGES[2]
DEFINITION = "fast_vc_service/protocol"
NEW_MEMBER = """
    volume: Annotated[
        float, Asked(Number(0.0, 2.0, default=1.0), Words("times as loud", "音量倍数"))
    ] = 1.0


@dataclass(frozen=True, slots=True)
class Ready:
"""
NEW_ANSWER = """
    gain_db: Annotated[float, Told(NUMBER, Words("How much."), example=0.0, assumed=None)]
    server_version:"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    files = [
        *(ROOT / DEFINITION).glob("*.py"),
        *(ROOT / "scripts").glob("p*.py"),
        *(ROOT / path for path in (ASYNCAPI, PYTHON_TYPES, DECLARATIONS, OPTION_NAMES, *PAGES)),
        ROOT / "fast_vc_service/__init__.py",
        ROOT / "fast_vc_service/server/__init__.py",
        ROOT / "fast_vc_service/server/websocket/__init__.py",
        ROOT / "fast_vc_service/server/websocket/asyncapi.py",
    ]
    for file in files:
        target = tmp_path / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return tmp_path


def outdated(copy: Path) -> set[Path]:
    """Run the check; return what it complains of, which the other mode of the script repairs."""
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    script = [sys.executable, "scripts/protocol.py"]
    check = subprocess.run(
        [*script, "--check"],
        cwd=copy,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    named = {Path(line.split(" is outdated")[0]) for line in check.stderr.splitlines()}
    assert check.returncode == (1 if named else 0), check.stderr
    subprocess.run(script, cwd=copy, env=environment, check=True)
    subprocess.run([*script, "--check"], cwd=copy, env=environment, check=True)
    return named


def change(copy: Path, module: str, old: str, new: str) -> None:
    file = copy / DEFINITION / module
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_nothing_is_outdated(copy: Path) -> None:
    assert outdated(copy) == set()


def test_a_new_field_of_config_is_missed_everywhere(copy: Path) -> None:
    change(
        copy, "opening.py", "\n\n\n@dataclass(frozen=True, slots=True)\nclass Ready:\n", NEW_MEMBER
    )
    assert outdated(copy) == {ASYNCAPI, PYTHON_TYPES, DECLARATIONS, OPTION_NAMES, *API_PAGES}
    assert 'volume: "volume",' in (copy / OPTION_NAMES).read_text()
    assert "| `volume` | 1.0 | 音量倍数 |" in (copy / API_PAGES[1]).read_text(encoding="utf-8")


def test_a_new_member_of_the_answer_is_missed_everywhere(copy: Path) -> None:
    change(copy, "opening.py", "\n    server_version:", NEW_ANSWER)
    assert outdated(copy) == {ASYNCAPI, PYTHON_TYPES, DECLARATIONS, *API_PAGES}


def test_a_changed_bound_is_missed_wherever_it_is_told(copy: Path) -> None:
    change(copy, "limits.py", "MAX_PITCH_SHIFT = 24.0", "MAX_PITCH_SHIFT = 36.0")
    assert outdated(copy) == {ASYNCAPI, PYTHON_TYPES, DECLARATIONS, *API_PAGES}
    assert '"maximum": 36.0' in (copy / ASYNCAPI).read_text()


def test_another_close_code_is_missed_wherever_it_is_told(copy: Path) -> None:
    change(copy, "codes.py", "4410", "4411")
    assert outdated(copy) == {ASYNCAPI, *PAGES}


def test_a_new_warning_is_missed(copy: Path) -> None:
    change(copy, "codes.py", '    LATE = "LATE"\n', '    LATE = "LATE"\n    LOUD = "LOUD"\n')
    assert outdated(copy) == {ASYNCAPI}


@pytest.mark.parametrize("path", [PYTHON_TYPES, DECLARATIONS, OPTION_NAMES, ASYNCAPI])
def test_an_edit_by_hand_is_noticed(copy: Path, path: Path) -> None:
    file = copy / path
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("session_id", "sesion_id"), encoding="utf-8")
    assert outdated(copy) == {path}
    assert file.read_text(encoding="utf-8") == text
