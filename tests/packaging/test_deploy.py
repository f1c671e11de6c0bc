"""The files in ``deploy/``: as far as they can be judged without a container engine."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, each with its arguments on one line."""
    text = (DEPLOY / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = []
    for line in joined.splitlines():
        name, _, rest = line.partition(" ")
        found.append((name, rest.strip()))
    return found


def test_everything_the_image_is_built_of_is_there_and_let_in() -> None:
    let_in = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    sources: set[str] = set()
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            sources.update(shlex.split(rest)[:-1])
    wanted = {"scripts/setup.sh" if source == "scripts" else source for source in sources}
    assert wanted == let_in
    assert all((ROOT / source).exists() for source in wanted)


def test_the_image_runs_as_nobody_in_particular_and_can_be_watched() -> None:
    final = instructions()
    last = max(place for place, (name, _) in enumerate(final) if name == "FROM")
    stage = final[last:]
    named = dict(stage)
    assert named["USER"].isdecimal()
    assert int(named["USER"]) > 0
    assert f"--uid {named['USER']}" in next(rest for name, rest in stage if name == "RUN")
    assert "/health/live" in named["HEALTHCHECK"]
    assert named["STOPSIGNAL"] == "SIGINT"
    assert named["ENTRYPOINT"] == '["fast-vc"]'
    assert "FAST_VC_API_KEYS" not in named["ENV"], "keys do not belong in an image"
    assert all("latest" not in rest for name, rest in final if name == "FROM")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_is_one(tmp_path: Path) -> None:
    program = tmp_path / "fast-vc"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (DEPLOY / "fast-vc.service").read_text()
    unit = tmp_path / "fast-vc.service"
    unit.write_text(text.replace("/opt/fast-vc-service/.venv/bin/fast-vc", str(program)))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "fast-vc.service" not in done.stderr, done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_the_unit_may_do_no_more_than_it_must() -> None:
    unit = str(DEPLOY / "fast-vc.service")
    done = subprocess.run(
        # In tenths; what it is at present stands in docs/deployment.md.
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=voice.example.org", "-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    site = (DEPLOY / "nginx.conf").read_text().replace("/etc/ssl/fast-vc", str(tmp_path))
    (tmp_path / "site.conf").write_text(site)
    main = tmp_path / "nginx.conf"
    main.write_text(
        f"pid {tmp_path}/pid;\nevents {{}}\n"
        f"http {{\n access_log off;\n include {tmp_path}/site.conf;\n}}\n"
    )
    done = subprocess.run(
        ["nginx", "-t", "-c", str(main)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
