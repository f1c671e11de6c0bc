"""``fast-vc doctor``: whether this machine keeps up, and if not, what to do about it."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fast_vc_service.audio.opus import opus_available
from fast_vc_service.commands.check import Check
from fast_vc_service.commands.check_engine import check_engine, compare
from fast_vc_service.contract import Voice
from fast_vc_service.engine.build import Engine, cores, engine_of, options_of
from fast_vc_service.engine.families import build_converter, family_of
from fast_vc_service.errors import ServiceError, UserError
from fast_vc_service.process.about import devices
from fast_vc_service.process.address import bind_socket, is_loopback
from fast_vc_service.process.cuda import facts_of, why_unusable
from fast_vc_service.process.interpreter import limit_torch_threads
from fast_vc_service.process.service_info import find_services
from fast_vc_service.settings import Settings
from fast_vc_service.voices.build import catalogue_of
from fast_vc_service.voices.catalogue import VoiceCatalogue

MIN_FREE_BYTES = 1 << 30
SPARE_FILES = 64

_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}


def run(settings: Settings, *, as_json: bool = False) -> int:
    """Look at everything the service needs and print the findings.

    Returns:
        Exit status: 1 when a problem stops the service.
    """
    limit_torch_threads(family_of(settings.engine).torch_threads)
    checks = list(examine(settings))
    problems = sum(check.verdict == "problem" for check in checks)
    if as_json:
        content = {"ok": not problems, "checks": [asdict(check) for check in checks]}
        sys.stdout.write(json.dumps(content, indent=2) + "\n")
    else:
        _print(checks, problems)
    return 1 if problems else 0


def examine(settings: Settings) -> Iterator[Check]:
    """Yield the findings, the slow ones last."""
    yield check_machine()
    yield check_device(settings)
    yield check_opus()
    yield check_port(settings)
    yield check_access(settings)
    yield check_files(settings)
    yield from check_folders(settings)
    try:
        engine = engine_of(settings, on_step=lambda _seconds, _batch: None)
    except (ValueError, UserError) as error:
        yield Check("engine", "problem", str(error), "Correct the setting named here.")
        return
    voices = catalogue_of(settings, engine.converter)
    found = check_voices(settings, voices)
    yield found
    if found.verdict != "problem":
        try:
            voice = voices.get(voices.default)
            yield from check_engine(engine, voice)
            yield from check_against_cpu(settings, engine, voice)
        except UserError as error:
            yield Check("engine", "problem", str(error), "See docs/troubleshooting.md.")


def check_against_cpu(settings: Settings, engine: Engine, voice: Voice) -> Iterator[Check]:
    """Compare the first CUDA device with the CPU, at one session; nothing where there is none."""
    options = options_of(settings)
    halved = options is not None and options.options.precision != "float32"
    if not settings.device.startswith("cuda") or halved:
        return
    if options is not None:
        plain = replace(options.options, compile=False, cuda_graphs=False)
        options = replace(options, options=plain)
    here = build_converter(
        settings.engine, device="cpu", latency_ms=settings.latency_ms, options=options
    )
    yield compare(here, engine.converter, voice, family_of(settings.engine).tolerance)


def check_machine() -> Check:
    """Count cores and memory."""
    count = cores()
    memory = psutil.virtual_memory()
    finding = (
        f"{count} {'core' if count == 1 else 'cores'}, {memory.total / 2**30:.1f} GiB memory "
        f"({memory.available / 2**30:.1f} free), Python {platform.python_version()}"
    )
    values = {
        "cores": count,
        "memory_bytes": memory.total,
        "available_memory_bytes": memory.available,
        "python": platform.python_version(),
    }
    if memory.available < MIN_FREE_BYTES:
        return Check("machine", "warning", finding, "Free some memory (1 GiB at least).", values)
    return Check("machine", "ok", finding, values=values)


def check_device(settings: Settings) -> Check:
    """Say where the model will run and what else there would be."""
    available = devices()
    values = {"device": settings.device, "available": available}
    for name in settings.device.split(","):
        if name.startswith("cuda"):
            number = int(name.partition(":")[2] or 0)
            why = why_unusable(facts_of(number), number)
            if why is not None:
                return Check("device", "problem", f"{name}: {why}", "Or set device=cpu.", values)
    others = [name for name in available if name != settings.device]
    beside = f"; also here: {', '.join(others)}" if others else ""
    return Check("device", "ok", f"{settings.device}{beside}", values=values)


def check_opus() -> Check:
    """Look for libopus."""
    if opus_available():
        return Check("libopus", "ok", "found: PCM and Opus clients can connect")
    return Check(
        "libopus",
        "warning",
        "not found: only PCM clients can connect",
        "Install it: apt install libopus0, or brew install opus.",
    )


def check_port(settings: Settings) -> Check:
    """See whether the service could listen where it is told to."""
    place = f"{settings.host}:{settings.port}"
    for info in find_services(settings.temp_dir, settings.port).running:
        return Check("port", "ok", f"{place}: this service runs there (process {info.master_pid})")
    try:
        bind_socket(settings.host, settings.port).close()
    except ServiceError as error:
        return Check("port", "problem", str(error), "Choose another port or stop that program.")
    return Check("port", "ok", f"{place} is free")


def check_access(settings: Settings) -> Check:
    """Compare who can reach the service with who is let in."""
    keys = len(settings.api_keys)
    if is_loopback(settings.host):
        return Check("access", "ok", f"this machine only; {keys or 'no'} keys configured")
    if keys:
        return Check("access", "ok", f"others can reach {settings.host}; {keys} keys configured")
    if settings.allow_anonymous:
        return Check(
            "access",
            "warning",
            f"anyone who reaches {settings.host} may use the service",
            "Configure api_keys unless that is meant.",
        )
    return Check(
        "access",
        "problem",
        f"others can reach {settings.host} and no keys are configured",
        "Configure api_keys, or set allow_anonymous, or listen on 127.0.0.1.",
    )


def check_files(settings: Settings) -> Check:
    """Compare the limit on open files with the connections that may come."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = settings.max_connections + SPARE_FILES
    finding = f"{soft} may be open at once, {settings.max_connections} connections are allowed"
    if soft != resource.RLIM_INFINITY and soft < need:
        enough = hard == resource.RLIM_INFINITY or hard >= need
        advice = f"Run: ulimit -n {need}" if enough else "Lower max_connections."
        return Check("open files", "warning", finding, advice)
    return Check("open files", "ok", finding)


def check_folders(settings: Settings) -> Iterator[Check]:
    """See whether the service may write where it must."""
    needed = {"temp_dir": settings.temp_dir, "logs_dir": settings.logs_dir}
    needed["models_dir"] = settings.models_dir
    if settings.record:
        needed["outputs_dir"] = settings.outputs_dir
    locked = [f"{name} ({path})" for name, path in needed.items() if not _writable(path)]
    if locked:
        yield Check(
            "folders",
            "problem",
            f"cannot write to {', '.join(locked)}",
            "Change the folder's owner, or set another folder.",
        )
    else:
        yield Check("folders", "ok", f"{', '.join(needed)} can be written")


def check_voices(settings: Settings, catalogue: VoiceCatalogue) -> Check:
    """List the voices and make the default one."""
    names = catalogue.names()
    values = {"voices": names, "default_voice": settings.default_voice}
    try:
        catalogue.get(catalogue.default)
    except (LookupError, ValueError) as error:
        return Check(
            "voices",
            "problem",
            str(error.args[0]) if error.args else str(error),
            f"Put a clip of 5 to 30 s of clear speech into {settings.voices_dir}, or set "
            "default_voice to one that is there.",
            values,
        )
    finding = f"{len(names)}: {', '.join(names)} (default {settings.default_voice})"
    return Check("voices", "ok", finding, values=values)


def _writable(path: Path) -> bool:
    """True when ``path`` can be written, or made."""
    for place in (path, *path.parents):
        if place.exists():
            return place.is_dir() and os.access(place, os.W_OK)
    return False


def _print(checks: list[Check], problems: int) -> None:
    console = Console(highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    for check in checks:
        style = _STYLES[check.verdict]
        table.add_row(Text(check.verdict, style), check.name, Text(check.finding))
        if check.advice:
            table.add_row("", "", Text(f"-> {check.advice}", style))
    console.print(table)
    if problems:
        console.print(
            f"\n{problems} {'problem stops' if problems == 1 else 'problems stop'} the service.",
            style="red",
        )
    else:
        console.print("\nThis machine can run the service.", style="green")
