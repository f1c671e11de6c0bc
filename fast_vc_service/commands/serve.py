"""How a service starts: checked, alone on its port, visible from outside, then warm.

Until the application has taken the signals over, a signal ends the process at once: nothing has
been promised to anybody yet. So ``fast-vc stop`` works while torch is still being imported.
"""

from __future__ import annotations

import difflib
import functools
import os
import sys
import time
from pathlib import Path
from types import FrameType

from loguru import logger

from fast_vc_service.commands import start_notice
from fast_vc_service.errors import ServiceError, SettingsError, UserError
from fast_vc_service.process import logs
from fast_vc_service.process.address import bind_socket, is_loopback, page_url, service_url
from fast_vc_service.process.disk import check_writable
from fast_vc_service.process.local_token import LocalTokenFile
from fast_vc_service.process.service_info import (
    ServiceInfo,
    ServiceInfoFile,
    find_services,
    this_process,
)
from fast_vc_service.process.signals import on_end
from fast_vc_service.process.start_progress import StartProgress
from fast_vc_service.protocol.service_state import ServiceState
from fast_vc_service.settings import LoadedSettings, Settings

LONG_KEY_CHARS = 16
"""Shorter keys are taken, with a warning."""


def serve(loaded: LoadedSettings) -> int:
    """Run the service until it is stopped; returns its exit status.

    Raises:
        SettingsError: The settings do not allow a start.
        ServiceError: The port is taken.
    """
    check(loaded)
    settings = loaded.settings
    refuse_second(settings)
    check_folders(settings)
    sock = bind_socket(settings.host, settings.port)
    port = int(sock.getsockname()[1])
    info = ServiceInfoFile(settings.temp_dir, describe(loaded, port))
    token = LocalTokenFile(settings.temp_dir, port)
    _end_on_signal(info, token)
    try:
        _write(info)
        local_token = _write_token(token, settings)
        settings = with_certificate(settings, port)
        start_logs(settings, Path(info.info.log_path))
        logger.info(start_notice.first_line(settings.engine, settings.device, info.info.url))
        with StartProgress("loading PyTorch and the weights") as progress:
            from fast_vc_service import app  # imports torch: only once the port is ours

            by_address = not behind_proxy(settings)
            if local_token is not None and not by_address:
                _tell_address(info.info.url, token)
            return app.serve(
                settings,
                info,
                sock,
                local_token=local_token,
                local_by_address=by_address,
                on_built=lambda: progress.now("warming up and measuring how many sessions fit"),
                on_change=lambda service: tell_change(
                    settings, info.info, service.state, service.capacity, progress
                ),
            )
    except UserError:
        raise
    except Exception:
        # Into the log file as well: stderr is often sent to /dev/null.
        logger.exception("the service has failed")
        return 1
    finally:
        token.remove()
        info.remove()
        sock.close()


def check(loaded: LoadedSettings) -> None:
    """Refuse settings that are right one by one but do not make a service.

    Raises:
        SettingsError: Open to others without keys, or a file or a voice is missing.
    """
    settings, sources = loaded.settings, loaded.sources
    if not (is_loopback(settings.host) or settings.api_keys or settings.allow_anonymous):
        raise SettingsError(
            f"host: expected a loopback address while there are no api_keys, got "
            f"'{settings.host}' ({sources['host']}); configure api_keys, or let everyone in "
            "with --allow-anonymous"
        )
    for name in ("tls_cert", "tls_key"):
        path = getattr(settings, name)
        if path is not None and not os.access(path, os.R_OK):
            raise SettingsError(
                f"{name}: expected a readable PEM file, got '{path}' ({sources[name]})"
            )
    folder = settings.voices_dir
    if not folder.is_dir():
        raise SettingsError(
            f"voices_dir: expected a folder of reference clips, got '{folder}' "
            f"({sources['voices_dir']})"
        )
    names = sorted({path.stem for path in folder.iterdir() if path.is_file()})
    if settings.default_voice not in names:
        close = difflib.get_close_matches(settings.default_voice, names, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise SettingsError(
            f"default_voice: expected a clip of that name in {folder}, got "
            f"'{settings.default_voice}' ({sources['default_voice']}){hint}"
        )


def check_folders(settings: Settings) -> None:
    """Refuse folders that cannot be written to, before anybody can connect.

    What fails to be written there later stops nothing.

    Raises:
        SettingsError: It names the setting.
    """
    recordings = ("outputs_dir",) if settings.record else ()
    for name in ("temp_dir", "logs_dir", "data_dir", *recordings):
        try:
            check_writable(getattr(settings, name))
        except OSError as error:
            raise SettingsError(f"{name}: expected a folder to write to, got: {error}") from error


def behind_proxy(settings: Settings) -> bool:
    """Tell whether others are expected to come through this machine, or by another name."""
    return bool(settings.allowed_hosts) or "FORWARDED_ALLOW_IPS" in os.environ


def refuse_second(settings: Settings) -> None:
    """Refuse a port on which a service of ours runs already.

    Raises:
        ServiceError: It says who runs there.
    """
    for other in find_services(settings.temp_dir, settings.port).running:
        raise ServiceError(
            f"port {other.port} is taken: fast-vc-service runs there already (process "
            f"{other.master_pid}, {other.state}, {other.env_profile or other.config_path}, "
            f"{other.url}); stop it with `fast-vc stop --port {other.port}` or choose another "
            "with --port"
        )


def describe(loaded: LoadedSettings, port: int) -> ServiceInfo:
    """Return what this process tells about itself as it starts on ``port``."""
    settings = loaded.settings
    pid, create_time = this_process()
    tls = settings.tls_self_signed or settings.tls_cert is not None
    return ServiceInfo(
        master_pid=pid,
        create_time=create_time,
        host=settings.host,
        port=port,
        start_time=time.time(),
        env_profile=loaded.profile,
        config_path=str(loaded.config_path) if loaded.config_path else None,
        state="starting",
        url=service_url(settings.host, port, tls=tls),
        engine=settings.engine,
        drain_s=settings.drain_s,
        log_path=str(settings.logs_dir / f"fast_vc_service_{port}.log"),
        outputs_dir=str(settings.outputs_dir),
    )


def with_certificate(settings: Settings, port: int) -> Settings:
    """Return ``settings`` with ``tls_cert`` and ``tls_key`` set when a certificate is to be made.

    Raises:
        SettingsError: ``temp_dir`` cannot be written.
    """
    if not settings.tls_self_signed:
        return settings
    from fast_vc_service.process.tls import self_signed

    try:
        certificate, key = self_signed(settings.temp_dir, settings.host, port)
    except OSError as error:
        raise SettingsError(f"temp_dir: expected a folder to write to, got: {error}") from error
    return settings.model_copy(update={"tls_cert": certificate, "tls_key": key})


def start_logs(settings: Settings, file: Path) -> None:
    """Begin to log as ``settings`` say; to stderr alone when the file cannot be written."""
    keys = [key.key.get_secret_value() for key in settings.api_keys]
    configure = functools.partial(
        logs.configure, level=settings.log_level, as_json=settings.log_json, secrets=keys
    )
    try:
        configure(
            file=file,
            rotation_mb=settings.log_rotation_mb,
            retention_days=settings.log_retention_days,
            total_mb=settings.log_total_mb,
        )
    except OSError as error:
        configure()
        logger.warning("nothing is logged to {}: {}", file, error)
    short = [
        key.name
        for key in settings.api_keys
        if not key.key.get_secret_value().startswith("sha256:")
        and len(key.key.get_secret_value()) < LONG_KEY_CHARS
    ]
    if short:
        logger.warning(
            "api_keys: {} can be guessed: fewer than {} characters; make longer ones with: "
            "openssl rand -hex 24",
            ", ".join(short),
            LONG_KEY_CHARS,
        )


def _end_on_signal(info: ServiceInfoFile, token: LocalTokenFile) -> None:
    def end(_number: int, _frame: FrameType | None) -> None:
        token.remove()
        info.remove()
        sys.stderr.write("fast-vc: stopped by a signal\n")
        sys.stderr.flush()
        # An exception could be swallowed by whichever import it interrupts.
        os._exit(0)

    on_end(end)


def _write_token(token: LocalTokenFile, settings: Settings) -> str | None:
    """Write what stands for being on this machine; with keys nothing does."""
    if settings.api_keys:
        return None
    try:
        token.write()
    except OSError as error:
        logger.warning("{} cannot be written: {}", token.path, error)
        return None
    return token.token


def tell_change(
    settings: Settings,
    info: ServiceInfo,
    state: ServiceState,
    sessions: int,
    progress: StartProgress,
) -> None:
    """Tell when sessions are admitted: in the log, and on a terminal at more length."""
    progress.stop()
    if state != "ready":
        return
    started = start_notice.StartedService(
        url=info.url,
        port=info.port,
        engine=settings.engine,
        device=settings.device,
        sessions=sessions,
        limit_set=settings.max_sessions is not None,
    )
    logger.info(start_notice.ready_line(started))
    if sys.stdout is not None and sys.stdout.isatty():
        sys.stdout.write(f"{start_notice.banner(started)}\n")
        sys.stdout.flush()


def _tell_address(url: str, token: LocalTokenFile) -> None:
    """Tell where the page has the rights of this machine, though its sockets do not show it."""
    page = page_url(url)
    # A terminal is read by who sits there; a log by others.
    shown = f"{page}#token={token.token}" if sys.stderr.isatty() else f"{page}#token=..."
    sys.stderr.write(
        f"the page, with the rights of who is on this machine: {shown} (token: {token.path})\n"
    )
    sys.stderr.flush()


def _write(info: ServiceInfoFile) -> None:
    try:
        info.write()
    except OSError as error:
        logger.warning("`fast-vc status` will not find this service: {}", error)
