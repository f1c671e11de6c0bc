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
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from fast_vc_service.errors import ServiceError
from fast_vc_service.process import stopping
from fast_vc_service.process.address import bind_socket, is_loopback, service_url
from fast_vc_service.process.health import ask_health
from fast_vc_service.process.running import RunningProcess
from fast_vc_service.process.service_info import (
    FoundServices,
    ServiceInfo,
    ServiceInfoFile,
    find_services,
    info_path,
    remove_stale,
    this_process,
)
from fast_vc_service.process.stopping import stop_service
from fast_vc_service.process.tls import self_signed
from waiting import until

SIGNALLED = """
# stands for fast_vc_service: does nothing but what it is told to do at a signal
import json, os, signal, sys
from pathlib import Path
from fast_vc_service.process.service_info import ServiceInfo, ServiceInfoFile
folder, told_info = sys.argv[1:]
if folder:
    file = ServiceInfoFile(Path(folder), ServiceInfo(**json.loads(told_info)))
    file.info = type(file.info)(**{{**vars(file.info), "master_pid": os.getpid()}})
    file.write()
signals, told = os.pipe()
os.set_blocking(told, False)
signal.set_wakeup_fd(told)
{}
print("on", flush=True)
while True: os.read(signals, 1)
"""

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

    def started(setup: str = "", folder: Path | None = None, **more: object) -> ServiceInfo:
        info = replace(info_of(0, 0.0), **more)  # type: ignore[arg-type]
        child = subprocess.Popen(
            [
                *(sys.executable, "-c", SIGNALLED.format(setup)),
                *(str(folder or ""), json.dumps(asdict(info))),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return replace(info, master_pid=child.pid)

    yield started
    for child in children:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def write(folder: Path, info: ServiceInfo) -> None:
    """Write an info file that nobody holds."""
    info_path(folder, info.port).unlink(missing_ok=True)
    info_path(folder, info.port).write_text(json.dumps(asdict(info)))


def kill(info: ServiceInfo) -> None:
    os.kill(info.master_pid, signal.SIGKILL)
    until(lambda: not alive(info))


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


def test_the_file_of_another_process_is_not_removed(tmp_path: Path, start: Start) -> None:
    mine = ServiceInfoFile(tmp_path, info_of(*this_process()))
    mine.write()
    other = start(folder=tmp_path)
    mine.remove()
    assert find_services(tmp_path).running == [other]
    never_written = ServiceInfoFile(tmp_path, info_of(*this_process()))
    never_written.remove()
    assert find_services(tmp_path).running == [other]


def test_living_services_are_told_from_stale_files(tmp_path: Path, start: Start) -> None:
    living = start(folder=tmp_path, port=1)
    ended = start(folder=tmp_path, port=2)
    kill(ended)
    forged = start(port=3)
    write(tmp_path, forged)
    info_path(tmp_path, 4).write_text("{")
    found = find_services(tmp_path)
    assert found.running == [living]
    reasons = {stale.path: stale.reason for stale in found.stale}
    assert reasons[info_path(tmp_path, 2)] == f"process {ended.master_pid} has ended"
    assert "is not that service any more" in reasons[info_path(tmp_path, 3)]
    assert "cannot be read" in reasons[info_path(tmp_path, 4)]
    assert find_services(tmp_path, 3).running == []
    assert find_services(tmp_path, 99) == FoundServices([], [])


def test_no_clock_decides_whether_a_service_lives(tmp_path: Path, start: Start) -> None:
    # As after a step of the clock: the process seems to have begun at another time.
    living = start(folder=tmp_path, create_time=1e9, start_time=2e9)
    assert find_services(tmp_path).running == [living]
    assert stop_service(living, force=True) == []


def test_a_file_that_names_another_process_than_its_own_is_left_alone(
    tmp_path: Path, start: Start
) -> None:
    victim = start()
    holder = start(
        "path = file.path\n"
        f"handle = os.open(path, os.O_RDWR); text = open(path).read()\n"
        f'os.pwrite(handle, text.replace(str(os.getpid()), "{victim.master_pid}").encode(), 0)\n'
        "from fast_vc_service.process.lock import claim; claim(handle)",
        folder=tmp_path,
    )
    found = find_services(tmp_path)
    assert found.running == []
    (stale,) = found.stale
    assert stale.held
    assert f"process {holder.master_pid} holds it" in stale.reason
    remove_stale(stale)
    assert stale.path.is_file()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_not_read(tmp_path: Path, start: Start, kind: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    start(folder=tmp_path / "elsewhere")
    path = info_path(tmp_path, 8042)
    if kind == "link":
        path.symlink_to(info_path(tmp_path / "elsewhere", 8042))
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    found = find_services(tmp_path)
    assert found.running == []
    assert "cannot be read" in found.stale[0].reason
    ServiceInfoFile(tmp_path / "elsewhere", info_of(*this_process())).remove()
    assert info_path(tmp_path / "elsewhere", 8042).is_file()


def test_writing_replaces_a_link_and_follows_none(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    info_path(tmp_path, 8042).symlink_to(precious)
    file = ServiceInfoFile(tmp_path, info_of(*this_process()))
    file.write()
    file.remove()
    assert precious.read_text() == "mine"


def test_a_stale_file_is_removed_but_not_a_new_service_s(tmp_path: Path, start: Start) -> None:
    dead = info_of(start().master_pid, 1e9)
    write(tmp_path, dead)
    (stale,) = find_services(tmp_path).stale
    start(folder=tmp_path)
    remove_stale(stale)
    assert stale.path.is_file()
    write(tmp_path, dead)
    remove_stale(stale)
    assert not stale.path.exists()


def test_a_service_is_found_while_it_tells_its_state_over_and_over(
    tmp_path: Path, start: Start
) -> None:
    start(
        "import threading\n"
        "threading.Thread(target=lambda: [file.set_state('ready') for _ in iter(int, 1)],"
        " daemon=True).start()",
        folder=tmp_path,
    )
    for _ in range(200):
        found = find_services(tmp_path)
        assert len(found.running) == 1, found


def test_a_number_that_another_process_got_is_not_the_process() -> None:
    process = RunningProcess.of(os.getpid())
    assert process is not None
    assert process.alive
    assert not replace(process, start_ticks=1).alive
    assert RunningProcess.of(2**22 + 5) is None


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
    info = start(
        "signal.signal(signal.SIGALRM, lambda *_: sys.exit())\n"
        "signal.signal(signal.SIGINT, lambda *_: signal.setitimer(signal.ITIMER_REAL, 0.5))"
    )
    assert stop_service(info) == []
    assert not alive(info)


def test_stop_reports_what_survives(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "STOP_MARGIN_S", 0.1)
    info = start("signal.signal(signal.SIGINT, signal.SIG_IGN)", drain_s=0.3)
    assert stop_service(info) == [info.master_pid]
    assert alive(info)


def test_force_terminates_twice(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "KILL_AFTER_S", 60)
    info = start(
        "seen = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: seen.append(1) or len(seen) < 2 or sys.exit())"
    )
    started = time.monotonic()
    assert stop_service(info, force=True) == []
    assert time.monotonic() - started < 50, "it was killed"


def test_force_kills_what_does_not_listen(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "KILL_AFTER_S", 2)
    info = start("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    assert stop_service(info, force=True) == []
    assert not alive(info)


def test_children_count_as_survivors(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "STOP_MARGIN_S", 0.1)
    info = start(
        "import subprocess\nsubprocess.Popen(['sleep', '30'], start_new_session=True)\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit())",
        drain_s=3,
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
