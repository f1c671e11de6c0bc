from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from fast_vc_service import lifecycle
from fast_vc_service.errors import ServiceError
from fast_vc_service.lifecycle import (
    ServiceInfo,
    ServiceInfoFile,
    ask_health,
    bind_socket,
    find_services,
    info_path,
    is_loopback,
    service_url,
    stop_service,
    this_process,
)
from fast_vc_service.tls import self_signed

SLEEPER = "# stands for fast_vc_service\nimport signal, sys, time\n{}\nprint('on', flush=True)\n"
SLEEPER += "while True: time.sleep(0.05)\n"

Start = Callable[..., ServiceInfo]


def info_of(pid: int, create_time: float, port: int = 8042, **more: object) -> ServiceInfo:
    info = ServiceInfo(
        master_pid=pid,
        create_time=create_time,
        host="127.0.0.1",
        port=port,
        start_time=time.time(),
        env_profile="prod",
        config_path=None,
        state="ready",
        url=f"ws://127.0.0.1:{port}/ws",
        engine="world",
        drain_s=5.0,
        log_path="/tmp/logs/fast_vc_service_8042.log",
        outputs_dir="/tmp/outputs",
    )
    return replace(info, **more)  # type: ignore[arg-type]


@pytest.fixture
def start() -> Iterator[Start]:
    children: list[subprocess.Popen[str]] = []

    def started(setup: str = "", **more: object) -> ServiceInfo:
        child = subprocess.Popen(
            [sys.executable, "-c", SLEEPER.format(setup)], stdout=subprocess.PIPE, text=True
        )
        children.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return info_of(child.pid, psutil.Process(child.pid).create_time(), **more)

    yield started
    for child in children:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def alive(info: ServiceInfo) -> bool:
    return psutil.Process(info.master_pid).status() != psutil.STATUS_ZOMBIE


def test_the_info_file_holds_what_the_contract_names(tmp_path: Path) -> None:
    file = ServiceInfoFile(tmp_path / "temp", info_of(*this_process()))
    file.write()
    content = json.loads((tmp_path / "temp/fast_vc_service_port_8042.json").read_text())
    named = "master_pid host port start_time env_profile config_path create_time state url engine"
    assert set(named.split()) <= set(content)
    file.set_state("draining")
    assert json.loads(file.path.read_text())["state"] == "draining"
    file.remove()
    file.remove()
    assert list((tmp_path / "temp").iterdir()) == []


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    file = ServiceInfoFile(tmp_path, info_of(*this_process()))
    file.write()
    broken = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                json.loads(file.path.read_text())
            except ValueError as error:
                broken.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        file.set_state("ready")
    done.set()
    reader.join()
    assert not broken


def test_the_file_of_another_process_is_not_removed(tmp_path: Path) -> None:
    mine = ServiceInfoFile(tmp_path, info_of(*this_process()))
    other = ServiceInfoFile(tmp_path, info_of(1, 0.0))
    other.write()
    mine.remove()
    assert other.path.is_file()


def test_living_services_are_told_from_stale_files(tmp_path: Path, start: Start) -> None:
    living = start(port=1)
    ended = start(port=2)
    os.kill(ended.master_pid, signal.SIGKILL)
    reused = replace(start(port=3), create_time=1e9)
    for info in (living, ended, reused):
        ServiceInfoFile(tmp_path, info).write()
    info_path(tmp_path, 4).write_text("{")
    found = find_services(tmp_path)
    assert found.running == [living]
    reasons = {stale.path: stale.reason for stale in found.stale}
    assert reasons[info_path(tmp_path, 2)] == f"process {ended.master_pid} has ended"
    assert "newer one" in reasons[info_path(tmp_path, 3)]
    assert "cannot be read" in reasons[info_path(tmp_path, 4)]
    assert find_services(tmp_path, 3).running == []
    assert find_services(tmp_path, 99) == lifecycle.FoundServices([], [])


def test_a_process_that_is_another_program_is_not_ours(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "30"]) as child:
        info = info_of(child.pid, psutil.Process(child.pid).create_time())
        ServiceInfoFile(tmp_path, info).write()
        found = find_services(tmp_path)
        child.kill()
    assert not found.running
    assert "another program" in found.stale[0].reason


def test_a_stale_file_is_removed_but_not_a_new_service_s(tmp_path: Path, start: Start) -> None:
    dead = info_of(start().master_pid, 1e9)
    ServiceInfoFile(tmp_path, dead).write()
    (stale,) = find_services(tmp_path).stale
    ServiceInfoFile(tmp_path, start()).write()
    lifecycle.remove_stale(stale)
    assert stale.path.is_file()
    ServiceInfoFile(tmp_path, dead).write()
    lifecycle.remove_stale(stale)
    assert not stale.path.exists()


def test_a_bound_port_is_taken_at_once_and_keeps_connections_alive() -> None:
    with bind_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ServiceError, match=rf"port {port} on 127.0.0.1 is taken by .*--port"):
            bind_socket("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port)):
            listener.setblocking(True)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                if sys.platform == "linux":
                    for name, value in (
                        ("TCP_KEEPIDLE", 15),
                        ("TCP_KEEPINTVL", 5),
                        ("TCP_KEEPCNT", 3),
                        ("TCP_USER_TIMEOUT", 30_000),
                    ):
                        option = getattr(socket, name)
                        assert accepted.getsockopt(socket.IPPROTO_TCP, option) == value


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(ServiceError, match=f"host: expected an address of this machine.*{host}"):
        bind_socket(host, 0)


def test_loopback_and_urls() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.9.1", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "127.evil.example")))
    assert service_url("0.0.0.0", 1, tls=False) == "ws://127.0.0.1:1/ws"
    assert service_url("::", 1, tls=True) == "wss://[::1]:1/ws"


def test_stop_interrupts_and_waits_for_the_end(start: Start) -> None:
    info = start("signal.signal(signal.SIGINT, lambda *_: (time.sleep(0.5), sys.exit()))")
    assert stop_service(info) == []
    assert not alive(info)


def test_stop_reports_what_survives(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "STOP_MARGIN_S", 0.1)
    info = start("signal.signal(signal.SIGINT, signal.SIG_IGN)", drain_s=0.3)
    assert stop_service(info) == [info.master_pid]
    assert alive(info)


def test_force_terminates_twice(start: Start) -> None:
    info = start(
        "seen = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: seen.append(1) or len(seen) < 2 or sys.exit())"
    )
    started = time.monotonic()
    assert stop_service(info, force=True) == []
    assert time.monotonic() - started < 4


def test_force_kills_what_does_not_listen(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "KILL_AFTER_S", 0.5)
    info = start("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    assert stop_service(info, force=True) == []
    assert not alive(info)


def test_children_count_as_survivors(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "STOP_MARGIN_S", 0.1)
    info = start(
        "import subprocess\nsubprocess.Popen(['sleep', '30'], start_new_session=True)\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit())",
        drain_s=0.5,
    )
    (child,) = psutil.Process(info.master_pid).children()
    try:
        assert stop_service(info) == [child.pid]
    finally:
        child.kill()


class _Health(BaseHTTPRequestHandler):
    answer = b'{"state": "ready"}'
    hosts: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.hosts.append(self.headers["Host"])
        self.send_response(503)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("tls", [False, True])
def test_health_is_asked_over_both_schemes(tmp_path: Path, tls: bool) -> None:
    with HTTPServer(("127.0.0.1", 0), _Health) as server:
        port = server.server_address[1]
        if tls:
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self_signed(tmp_path, "127.0.0.1", port))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = service_url("0.0.0.0", port, tls=tls)
        try:
            health = ask_health(info_of(1, 0, port=port, host="0.0.0.0", url=url))
        finally:
            server.shutdown()
            thread.join()
    assert health == {"state": "ready"}
    assert _Health.hosts[-1] == f"localhost:{port}"


def test_a_service_that_does_not_answer_is_told() -> None:
    with bind_socket("127.0.0.1", 0) as listener:
        info = info_of(1, 0, port=listener.getsockname()[1])
        with pytest.raises(ServiceError, match="no answer"):
            ask_health(info, timeout_s=0.1)
    with pytest.raises(ServiceError, match="no answer"):
        ask_health(info, timeout_s=0.1)


def test_a_certificate_is_kept_until_it_does_not_fit(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "0.0.0.0", 1)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    first = certificate.read_bytes()
    assert self_signed(tmp_path, "127.0.0.1", 1) == (certificate, key)
    assert certificate.read_bytes() == first
    self_signed(tmp_path, "voice.example", 1)
    assert certificate.read_bytes() != first
