"""``serve``, ``status``, ``stop`` and ``clean`` on real processes (spec: clients, fast-vc)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fast_vc_service.cli import main
from fast_vc_service.process.address import bind_socket
from fast_vc_service.process.service_info import info_path
from waiting import until

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).with_name("fast_vc_stand_in.py")
TIMEOUT_S = 60

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    voices = tmp_path / "wavs/references"
    voices.mkdir(parents=True)
    (voices / "ref-24k.wav").touch()
    return tmp_path


@pytest.fixture
def port() -> int:
    with bind_socket("127.0.0.1", 0) as free:
        return int(free.getsockname()[1])


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FAST_VC_")}
    paths = os.pathsep.join(map(str, STAND_IN.parents[1:3]))
    return {**kept, "FAST_VC_HOME": str(home), "PYTHONPATH": paths, **more}


@pytest.fixture
def cli(home: Path) -> Cli:
    def run(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fast_vc_service", *map(str, arguments)],
            env=environment(home, **more),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    return run


@pytest.fixture
def within(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The same within this process: for commands that refuse or only print."""

    def run(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("FAST_VC_")]:
                patch.delenv(name)
            for name, value in {"FAST_VC_HOME": str(home), **more}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["fast-vc", *map(str, arguments)])
            patch.chdir(home)
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess([], ended.value.code, out, err)

    return run


@pytest.fixture
def serve(home: Path) -> Iterator[Serve]:
    started: list[subprocess.Popen[str]] = []

    def run(
        *arguments: object, hold: str | None = None, before: str = "", **more: str
    ) -> subprocess.Popen[str]:
        if hold is not None:
            (home / hold).touch()
        shell = ["sh", "-c", f'{before}; exec "$@"', "sh"] if before else []
        child = subprocess.Popen(
            [*shell, sys.executable, str(STAND_IN), "serve", *map(str, arguments)],
            env=environment(home, **more),
            cwd=home,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child

    yield run
    for child in started:
        child.kill()
        child.wait()
        assert child.stderr is not None
        child.stderr.close()


def wait_for(home: Path, port: int, state: str) -> dict[str, object]:
    path = info_path(home / "temp", port)

    def told() -> dict[str, object] | None:
        info: dict[str, object] = json.loads(path.read_text()) if path.is_file() else {}
        return info if info.get("state") == state else None

    found = until(told, f"a service that is {state}")
    assert found is not None
    return found


def test_a_service_s_life(home: Path, port: int, cli: Cli, serve: Serve) -> None:
    assert cli("status").returncode == 3
    child = serve("--port", port, hold="warm-up")
    info = wait_for(home, port, "starting")
    assert info["master_pid"] == child.pid
    assert info["url"] == f"ws://127.0.0.1:{port}/ws"
    assert (info["env_profile"], info["config_path"], info["engine"]) == ("prod", None, "nano")
    assert cli("status").returncode == 4

    (home / "warm-up").unlink()
    wait_for(home, port, "ready")
    ready = cli("status", "--json")
    assert ready.returncode == 0
    told = json.loads(ready.stdout)
    assert (told["running"], told["state"], told["port"]) == (True, "ready", port)
    assert told["sessions"] == {"live": 2, "capacity": 7}
    assert told["pids"] == [child.pid]
    assert told["memory_bytes"] > 1e6
    text = cli("status", "--port", port).stdout
    assert "2 live, 7 fit" in text
    assert "prod" in text

    second = cli("serve", "--port", port)
    assert second.returncode == 1
    assert f"process {child.pid}" in second.stderr
    assert "ready" in second.stderr
    assert len(second.stderr.splitlines()) == 1

    stopped = cli("stop")
    assert stopped.returncode == 0, stopped.stderr
    assert child.wait() == 0
    assert not info_path(home / "temp", port).exists()
    assert cli("status", "--port", port).returncode == 3
    assert cli("stop").returncode == 3
    assert (home / "logs" / f"fast_vc_service_{port}.log").is_file()


def test_a_service_started_by_nohup_in_a_script_can_be_stopped(
    home: Path, port: int, cli: Cli, serve: Serve
) -> None:
    # What a script's `nohup ... &` hands down.
    child = serve("--port", port, before='trap "" INT', hold="import")
    wait_for(home, port, "starting")
    assert cli("stop", "--port", port).returncode == 0
    assert child.wait() == 0
    assert not info_path(home / "temp", port).exists()


def test_who_ignores_the_end_of_the_terminal_goes_on(
    home: Path, port: int, cli: Cli, serve: Serve
) -> None:
    child = serve("--port", port, before='trap "" HUP', hold="import")
    wait_for(home, port, "starting")
    child.send_signal(signal.SIGHUP)
    (home / "import").unlink()
    wait_for(home, port, "ready")
    assert cli("stop").returncode == 0
    assert child.wait() == 0


def test_the_end_of_the_terminal_ends_who_still_starts(home: Path, port: int, serve: Serve) -> None:
    child = serve("--port", port, hold="import")
    wait_for(home, port, "starting")
    child.send_signal(signal.SIGHUP)
    assert child.wait() == 0


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_a_service_needs_no_open_streams(
    home: Path, port: int, cli: Cli, serve: Serve, closed: str
) -> None:
    child = serve("--port", port, before=f"exec {closed}")
    wait_for(home, port, "ready")
    assert cli("status").returncode == 0
    assert cli("stop").returncode == 0
    assert child.wait() == 0
    (log,) = (home / "logs").glob("*.log")
    assert "Traceback" not in log.read_text()


def test_stop_force_does_not_wait(home: Path, port: int, cli: Cli, serve: Serve) -> None:
    child = serve("--port", port, hold="drain")
    wait_for(home, port, "ready")
    assert cli("stop", "-f").returncode == 0
    assert child.wait() == 0


@pytest.mark.slow
def test_stop_says_what_survives(home: Path, port: int, cli: Cli, serve: Serve) -> None:
    child = serve("--port", port, hold="drain", FAST_VC_DRAIN_S="0")
    wait_for(home, port, "ready")
    left = cli("stop")
    assert left.returncode == 1
    assert f"process {child.pid}" in left.stderr
    assert f"fast-vc stop --force --port {port}" in left.stderr
    assert cli("status").returncode == 4
    assert cli("stop", "--force").returncode == 0


def test_a_stale_info_file_is_reported_and_cleaned(
    home: Path, port: int, cli: Cli, serve: Serve
) -> None:
    child = serve("--port", port)
    wait_for(home, port, "ready")
    child.kill()
    child.wait()
    told = cli("status", "--json")
    assert told.returncode == 3
    (stale,) = json.loads(told.stdout)["stale"]
    assert stale["file"] == str(info_path(home / "temp", port))
    assert not info_path(home / "temp", port).exists()


def test_one_of_several_services_is_chosen_by_port(
    home: Path, port: int, cli: Cli, serve: Serve
) -> None:
    serve("--port", port)
    wait_for(home, port, "ready")
    serve("--port", 0)
    until(lambda: len(list((home / "temp").glob("*.json"))) == 2)
    unclear = cli("stop")
    assert unclear.returncode == 1
    assert str(port) in unclear.stderr
    assert len(json.loads(cli("status", "--json").stdout)["others"]) == 1
    assert cli("stop", "--port", port).returncode == 0
    assert cli("stop").returncode == 0


def test_a_port_of_another_program_is_named(within: Cli) -> None:
    with bind_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        refused = within("serve", "--port", port)
    assert refused.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken by" in refused.stderr


def test_the_service_survives_broken_settings_to_be_stopped(
    home: Path, port: int, cli: Cli, serve: Serve
) -> None:
    serve("--port", port)
    wait_for(home, port, "ready")
    (home / "profiles").mkdir()
    (home / "profiles/prod.yaml").write_text("prot: 1\n")
    assert cli("serve").returncode == 2
    assert cli("status").returncode == 0
    assert cli("stop").returncode == 0


def test_clean_spares_a_running_service(home: Path, port: int, cli: Cli, serve: Serve) -> None:
    serve("--port", port, "--tls-self-signed")
    wait_for(home, port, "ready")
    for name in ("logs/fast_vc_service_1.log", "logs/.gitkeep", "temp/left-over", "logs/notes.txt"):
        (home / name).touch()
    old, new = home / "outputs/2020/01/02/a.wav", home / "outputs/2026/01/02/b.wav"
    converted = home / "outputs/file_vc/c.wav"
    for path in (old, new, converted):
        path.parent.mkdir(parents=True)
        path.touch()
    os.utime(old, (0, 0))
    mine = {path.name for path in (home / "temp").iterdir()} - {"left-over"}
    assert len(mine) == 4

    declined = cli("clean")
    assert declined.returncode == 1
    assert (home / "logs/fast_vc_service_1.log").is_file()
    assert cli("clean", "-y", "--outputs", "--temp").returncode == 0
    assert {path.name for path in (home / "logs").iterdir()} == {
        ".gitkeep",
        "notes.txt",
        f"fast_vc_service_{port}.log",
    }
    assert {path.name for path in (home / "temp").iterdir()} == mine
    assert new.is_file()
    assert not old.parent.exists()
    assert not converted.parent.exists()

    assert cli("stop").returncode == 0
    again = cli("clean", "-y", "--outputs", "--temp")
    assert f"fast_vc_service_{port}.log" in again.stdout
    assert list((home / "temp").iterdir()) == []
    assert not new.exists()
    assert cli("clean", "-y").stdout == "nothing to remove\n"


@pytest.mark.parametrize("name", ["FAST_VC_OUTPUTS_DIR", "FAST_VC_TEMP_DIR"])
def test_clean_never_empties_the_home(home: Path, within: Cli, name: str) -> None:
    refused = within("clean", "-y", "--outputs", "--temp", **{name: "."})
    assert refused.returncode == 2
    assert (home / "wavs/references/ref-24k.wav").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--host", "0.0.0.0"), "--allow-anonymous"),
        (("--tls-cert", "a.pem", "--tls-key", "b.pem"), "tls_cert: expected a readable PEM file"),
        (("--config", "none.yaml"), "none.yaml: expected a readable YAML file"),
        (("--profile", "pord"), "did you mean 'prod'?"),
        (("--engine", "wrld"), "engine: expected one of"),
        (("--port", "70000"), "(flag --port)"),
        (("--latency-ms", "3"), "latency_ms: expected a whole number from"),
    ],
)
def test_serve_refuses_in_one_line(within: Cli, arguments: tuple[str, ...], expected: str) -> None:
    refused = within("serve", *arguments)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("fast-vc: ")
    assert expected in line


def test_serve_refuses_without_its_default_voice(home: Path, within: Cli) -> None:
    missing = within("serve", FAST_VC_DEFAULT_VOICE="ref-24")
    assert missing.returncode == 2
    assert "did you mean 'ref-24k'?" in missing.stderr
    assert "voices_dir" in within("serve", FAST_VC_VOICES_DIR="none").stderr


def test_anonymous_service_on_all_addresses_when_asked_for(
    home: Path, port: int, cli: Cli, serve: Serve
) -> None:
    serve("--host", "0.0.0.0", "--port", port, "--allow-anonymous")
    wait_for(home, port, "ready")
    assert json.loads(cli("status", "--json").stdout)["health_error"] is None


def test_print_config_starts_nothing(home: Path, within: Cli) -> None:
    shown = within(
        "serve",
        "--print-config",
        "--port",
        1,
        FAST_VC_API_KEYS='[{"name": "me", "key": "very-secret"}]',
    )
    assert shown.returncode == 0
    assert "very-secret" not in shown.stdout + shown.stderr
    assert "flag --port" in shown.stdout
    assert not (home / "temp").exists()


def test_quick_commands_do_not_import_torch_or_settings(home: Path) -> None:
    program = (
        "import sys\nsys.argv = ['fast-vc', 'status']\n"
        "from fast_vc_service.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'yaml', 'fast_vc_service.settings') "
        "if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(home),
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines()[-1] == "[]"


def test_matplotlib_is_imported_only_to_draw(home: Path) -> None:
    """Neither the help, nor a service, nor the tools whose modules can draw."""
    program = (
        "import sys\nsys.argv = ['fast-vc', '--help']\n"
        "import fast_vc_service.app, fast_vc_service.commands.session\n"
        "import fast_vc_service.commands.serve, fast_vc_service.loadtest.plot\n"
        "from fast_vc_service.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('matplotlib' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(home),
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines()[-1] == "False"


def test_every_command_explains_itself(within: Cli) -> None:
    for command in ("", "serve", "status", "stop", "clean", "version", "convert", "doctor"):
        shown = within(*filter(None, (command, "--help")))
        assert shown.returncode == 0
        assert len(shown.stdout.splitlines()) > 4
    assert within().returncode == 2
    assert within("strat").returncode == 2


def test_version(cli: Cli) -> None:
    from fast_vc_service import __version__

    assert cli("version").stdout.strip() == __version__
    told = json.loads(cli("version", "--json").stdout)
    assert {"version", "build", "python", "torch", "device"} <= set(told)
