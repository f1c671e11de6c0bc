from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "fast_vc_service"
CHANGES = {
    *("set_num_threads", "set_num_interop_threads", "set_flush_denormal"),
    *("setswitchinterval", "set_threshold", "freeze", "unfreeze"),
}

SETTINGS = """
import gc, os, sys, threading
from concurrent.futures import ThreadPoolExecutor

def library_settings():
    told = []
    def look():
        import torch
        told.append((torch.get_num_threads(), sys.getswitchinterval(), gc.get_threshold(),
                     gc.isenabled()))
    # A new thread shows what later ones get.
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return told[0]
"""

CHECKS = """
import time
import numpy as np
from fast_vc_service.process.interpreter import limit_torch_threads, tune_for_live_audio
from fast_vc_service.voices import clip_check, listening
from fast_vc_service.engine.families import build_converter

limit_torch_threads({threads})
assert "torch" not in sys.modules
tune_for_live_audio()
before = library_settings()
noise = np.random.default_rng(0).normal(0, 0.1, 8 * 16_000).astype(np.float32)
listening.is_speech(noise[:1024])
during = []
with ThreadPoolExecutor(3) as pool:
    checks = [pool.submit(clip_check.check_clip, noise, 16_000) for _ in range(2)]
    checks += [pool.submit(clip_check._least_alike, noise) for _ in range(2)]
    checks += [pool.submit(build_converter, "nano")]
    while not all(check.done() for check in checks):
        during.append(library_settings())
    for check in checks:
        check.result()
print(set(during) <= {{before}} and library_settings() == before, before[0])
"""


def run(program: str) -> list[str]:
    command = [sys.executable, "-c", SETTINGS + program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.split()


def test_checks_of_clips_and_new_engines_change_no_setting_of_a_library() -> None:
    assert run(CHECKS.format(threads=2)) == ["True", "2"]


@pytest.mark.parametrize("first", ["", "import torch"])
def test_the_limit_holds_in_every_thread_whether_torch_is_there_yet_or_not(first: str) -> None:
    limit = "from fast_vc_service.process.interpreter import limit_torch_threads as limit"
    assert run(f"{first}\n{limit}\nlimit(1)\nprint(library_settings()[0])") == ["1"]


def test_one_module_alone_changes_settings_of_libraries() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in CHANGES
        and not (node.func.attr == "freeze" and "jit" in ast.unparse(node.func))
    }
    assert found == {"process/interpreter.py"}
