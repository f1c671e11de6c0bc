"""The table of trial changes is compared with their patches; the patches are tried out."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

import trial_changes

PAGE = trial_changes.PAGE.read_text()


def test_the_table_says_what_the_patches_edit() -> None:
    assert list(trial_changes.problems(PAGE)) == []
    (outdated,) = trial_changes.problems(
        PAGE.replace("`fast_vc_service/engine/families.py`", "`x`")
    )
    assert "--write" in outdated


def test_a_change_that_edits_many_files_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_changes, "MOST_FILES", 3)
    found = list(trial_changes.problems(PAGE))
    assert "message.patch edits 4 files; at most 3 may be" in found


@pytest.mark.parametrize("trial", trial_changes.TRIALS, ids=lambda trial: trial.name)
def test_a_patch_fits_the_code(trial: trial_changes.Trial) -> None:
    command = ["git", "apply", "--check", str(trial.patch)]
    done = subprocess.run(
        command, cwd=trial_changes.ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("trial", trial_changes.TRIALS, ids=lambda trial: trial.name)
def test_a_change_applies_and_passes(trial: trial_changes.Trial) -> None:
    with trial_changes.copy_of_head() as tree:
        assert trial_changes.run(trial, tree) is None


@pytest.mark.slow
def test_a_change_that_does_not_apply_is_told() -> None:
    with trial_changes.copy_of_head() as tree:
        fault = trial_changes.run(replace(trial_changes.TRIALS[0], name="nothing"), tree)
    assert fault is not None
    assert "git apply" in fault
