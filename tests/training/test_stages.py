from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from training import __main__ as command
from training import packing
from training.stages import Plan, stages


def left(root: Path, **options: Any) -> dict[str, str]:
    return {stage.name: stage.left() for stage in stages(Plan(root, **options))}


def test_an_empty_folder_has_everything_left(tmp_path: Path) -> None:
    assert all(left(tmp_path).values())


def test_what_is_done_is_not_left(root: Path, teacher: Path) -> None:
    before = left(root)
    assert before["tools"] == ""
    assert before["real speech packed"] == "3 of 3 shards"
    packing.run(root, "real", 1, 0, 2)
    assert left(root)["real speech packed"] == "1 of 3 shards"
    packing.run(root, "real", 1)
    packing.run(root, "synthetic", 1)
    after = left(root)
    assert after["real speech packed"] == after["synthetic speech packed"] == ""
    assert after["teacher"] == "5 of 5 shards"
    run = root / "content"
    run.mkdir()
    (run / "curves.jsonl").write_text(json.dumps({"step": 30, "content": 0.3}) + "\n")
    assert left(root, content_steps=40)["content encoder"] == "10 of 40 steps"
    assert left(root, content_steps=30)["content encoder"] == ""


def test_the_core_set_asks_for_less(tmp_path: Path) -> None:
    core, everything = (left(tmp_path, core=core)["parallel speech"] for core in (True, False))
    assert float(core.split()[0]) < float(everything.split()[0])


def test_stages_run_in_order_until_one_fails_and_finished_ones_do_not(
    root: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def run(arguments: list[str], *, check: bool) -> subprocess.CompletedProcess[bytes]:
        ran.append(" ".join(arguments[2:]))
        return subprocess.CompletedProcess(arguments, 3 if "render" in arguments else 0)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(SystemExit, match=r"parallel speech failed \(3\)"):
        command.run(Plan(root, core=True, mirrors=Path("mirrors"), device="cuda"))
    assert not any("tools" in each for each in ran)
    assert [each.split()[3] for each in ran] == ["fetch", "text", "real", "render"]
    assert "--core --mirrors mirrors" in ran[2]
    assert ran[3].endswith("--torch cuda")
    assert "teacher: 0 of 0 shards" in capsys.readouterr().out


def test_a_training_starts_from_the_weights_of_the_repository_once(tmp_path: Path) -> None:
    def of(name: str) -> tuple[str, ...]:
        return next(stage.command for stage in stages(Plan(tmp_path)) if stage.name == name)

    assert "--start" in of("content encoder")
    assert "--content-start" not in of("content encoder")
    assert {"--start", "--content-start"} <= set(of("acoustic model"))
    (tmp_path / "content").mkdir()
    (tmp_path / "content/checkpoint.pt").touch()
    assert "--start" not in of("content encoder")
