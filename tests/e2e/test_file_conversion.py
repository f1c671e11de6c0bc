"""Files over a real socket: a killed service, a client that goes away, too large a body."""

from __future__ import annotations

import io
import json
import signal
import socket
from collections.abc import Callable

import httpx
import numpy as np
import pytest
import soundfile
from service import RunningService, launch

from waiting import until


def silence(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(round(8_000 * seconds), np.int16), 8_000, format="FLAC")
    return file.getvalue()


def base(service: RunningService) -> str:
    return f"http://127.0.0.1:{service.port}"


def test_a_job_of_a_killed_service_is_done_by_the_next(
    launch_service: Callable[..., RunningService],
) -> None:
    first = launch_service(max_sessions=2)
    first.wait_until("ready")
    answer = httpx.post(f"{base(first)}/jobs", files={"file": silence(1800)}, timeout=60)
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]
    until(lambda: first.get(f"/jobs/{job_id}")[1]["state"] in {"running", "done"})
    first.process.send_signal(signal.SIGKILL)
    first.process.wait(10)
    second = launch(first.home, "--engine", "passthrough", max_sessions=2)
    try:
        second.wait_until("ready")
        until(lambda: second.get(f"/jobs/{job_id}")[1]["state"] == "done")
        result = httpx.get(f"{base(second)}/jobs/{job_id}/result", timeout=60).content
        assert soundfile.info(io.BytesIO(result)).frames == 8_000 * 1800
        # A stop waits for no job: what is left is done after the next start.
        more = httpx.post(f"{base(second)}/jobs", files={"file": silence(3000)}, timeout=60)
        assert more.status_code == 202
        assert second.stop() == 0
    finally:
        if second.process.poll() is None:
            second.process.kill()
            second.process.wait()


def test_a_client_that_goes_away_frees_its_worker(
    launch_service: Callable[..., RunningService],
) -> None:
    service = launch_service(max_sessions=2)
    service.wait_until("ready")
    body = httpx.Request("POST", base(service), files={"file": silence(3000)})
    content = body.read()
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as sock:
        head = (
            f"POST /convert HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
            f"Content-Type: {body.headers['content-type']}\r\n\r\n"
        )
        sock.sendall(head.encode() + content)
        assert b" 200 " in sock.recv(200)
        busy = httpx.post(f"{base(service)}/convert", files={"file": silence(1)}, timeout=60)
        assert (busy.status_code, busy.json()["error_code"]) == (503, "BUSY")

    def free() -> bool:
        answer = httpx.post(f"{base(service)}/convert", files={"file": silence(1)}, timeout=60)
        return answer.status_code == 200 and len(answer.content) == 80 + 2 * 8_000

    until(free)
    assert service.stop() == 0
    assert "Traceback" not in service.output()


def test_a_body_that_is_too_large_is_refused_before_it_came(
    launch_service: Callable[..., RunningService],
) -> None:
    service = launch_service(max_sessions=2, max_clip_mb=1)
    service.wait_until("ready")
    head = (
        "POST /voices HTTP/1.1\r\nHost: localhost\r\n{}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    part = b'--x\r\nContent-Disposition: form-data; name="clip"; filename="a"\r\n\r\n'
    for length, chunks in (("Content-Length: 999999999", 0), ("Transfer-Encoding: chunked", 40)):
        with socket.create_connection(("127.0.0.1", service.port), timeout=30) as sock:
            sock.sendall(head.format(length).encode())
            try:
                if chunks:
                    sock.sendall(b"%x\r\n%s\r\n" % (len(part), part))
                for _ in range(chunks):
                    sock.sendall(b"10000\r\n" + bytes(65_536) + b"\r\n")
            except OSError:
                pass  # refused in the middle, as it should be
            said = b""
            try:
                while piece := sock.recv(65_536):
                    said += piece
                    if b"TOO_LARGE" in said:
                        break
            except ConnectionResetError:
                pass
        assert b" 413 " in said, said[:200]
        assert json.loads(said.partition(b"\r\n\r\n")[2])["error_code"] == "TOO_LARGE"


@pytest.mark.parametrize("host", ["evil.example", "localhost"])
def test_a_foreign_page_uploads_nothing(passthrough: RunningService, host: str) -> None:
    headers = {"host": f"{host}:{passthrough.port}", "origin": "https://evil.example"}
    fields = {"name": "x", "consent": "true"}
    answer = httpx.post(
        f"{base(passthrough)}/voices", headers=headers, data=fields, files={"clip": b"x"}
    )
    assert answer.status_code == 403
