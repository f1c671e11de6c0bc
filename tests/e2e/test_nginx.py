"""Real nginx in front: nobody who comes through it counts as being on this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from service import ROOT, RunningService, free_port
from websockets.sync.client import connect
from websockets.typing import Origin

from waiting import PATIENCE_S, until

NAME = "voice.example.org"
CLIP = ROOT / "wavs" / "references" / "alto.wav"


@contextmanager
def nginx(folder: Path, site: str, port: int) -> Iterator[None]:
    """Run nginx, by this very user, with ``site`` inside its ``http`` block until the end."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    assert program is not None, "install nginx-light: what a proxy does is tested with a real one"
    folder.mkdir()
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\nworker_processes 1;\n"
        f"pid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{paths}{site}\n}}\n"
    )
    process = subprocess.Popen([program, "-e", "stderr", "-c", str(folder / "nginx.conf")])

    def listens() -> bool:
        assert process.poll() is None, (folder / "error.log").read_text()
        try:
            httpx.get(f"http://127.0.0.1:{port}/")
        except httpx.ConnectError:
            return False
        except httpx.HTTPError:
            return True
        return True

    try:
        until(listens, "nginx listens")
        yield
    finally:
        process.terminate()
        process.wait()


def attempts(http: httpx.Client, clip: bytes = b"RIFF") -> dict[str, int]:
    """What only the machine of a service without keys may do, and what comes of it."""
    files = {"clip": ("a.wav", clip)}
    posted = http.post("/voices", data={"name": "anna", "consent": "true"}, files=files)
    return {
        "jobs": http.get("/jobs").status_code,
        "added": posted.status_code,
        "can_upload": http.get("/voices").json()["can_upload"],
        "removed": http.delete("/voices/anna").status_code,
    }


REFUSED = {"jobs": 403, "added": 403, "can_upload": False, "removed": 404}


def test_a_bare_proxy_makes_nobody_local(passthrough: RunningService, tmp_path: Path) -> None:
    port = free_port()
    site = (
        f"server {{ listen 127.0.0.1:{port}; location / {{\n"
        f"proxy_pass http://127.0.0.1:{passthrough.port}; %s }} }}"
    )
    # The second speaks as a browser does: only the process at the other end gives it away.
    for number, more in enumerate(("", "proxy_http_version 1.1; proxy_set_header Connection '';")):
        with nginx(tmp_path / str(number), site % more, port):
            for host in (f"127.0.0.1:{port}", "localhost", NAME):
                with httpx.Client(
                    base_url=f"http://127.0.0.1:{port}",
                    headers={"host": host},
                    timeout=5 * PATIENCE_S,
                ) as http:
                    assert attempts(http) == REFUSED
    with httpx.Client(
        base_url=f"http://localhost:{passthrough.port}", timeout=5 * PATIENCE_S
    ) as http:
        allowed = {"jobs": 200, "added": 201, "can_upload": True, "removed": 204}
        assert attempts(http, CLIP.read_bytes()) == allowed, "who sits there may as ever"


def test_the_shipped_proxy(launch_service: Callable[..., RunningService], tmp_path: Path) -> None:
    service = launch_service(allowed_hosts=NAME)
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    site = (ROOT / "deploy" / "nginx.conf").read_text().replace("/etc/ssl/fast-vc", str(tmp_path))
    site = site.replace("127.0.0.1:8042", f"127.0.0.1:{service.port}")
    ports = free_port(), free_port()
    for listen in ("listen 443 ssl default_server;", "listen 443 ssl;"):
        both = "\n".join(listen.replace("443", str(port)) for port in ports)
        assert listen in site
        site = site.replace(listen, both)
    service.wait_until("ready")
    trusted = ssl.create_default_context(cafile=str(certificate))
    with nginx(tmp_path / "nginx", site, ports[0]):
        for port in ports:
            host = f"{NAME}:{port}"
            with httpx.Client(
                base_url=f"https://127.0.0.1:{port}", verify=False, timeout=5 * PATIENCE_S
            ) as http:
                http.headers["host"] = host
                assert http.get("/health").json()["state"] == "ready"
                assert attempts(http) == REFUSED
                for other in ("localhost", f"localhost:{service.port}", "evil.example"):
                    with pytest.raises(httpx.RemoteProtocolError):
                        http.get("/health", headers={"host": other})
            with connect(
                f"wss://{host}/ws",
                sock=socket.create_connection(("127.0.0.1", port)),
                ssl=trusted,
                origin=Origin(f"https://{host}"),
                compression=None,
            ) as ws:
                ws.send(json.dumps({"type": "config"}))
                assert json.loads(ws.recv())["type"] == "ready"
    token = (service.home / "temp" / f"fast_vc_service_port_{service.port}.token").read_text()
    with httpx.Client(base_url=f"http://localhost:{service.port}", timeout=5 * PATIENCE_S) as http:
        assert attempts(http) == REFUSED, "with a name for others nobody is local by address"
        http.headers["authorization"] = f"Bearer {token.strip()}"
        assert attempts(http, CLIP.read_bytes())["added"] == 201
