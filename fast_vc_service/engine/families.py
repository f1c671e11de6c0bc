"""The model families and how each is built and driven: the one place that knows all by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fast_vc_service.audio.resample import StreamResampler
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter
from fast_vc_service.engine.device_errors import telling_device
from fast_vc_service.engine.device_turns import TakingTurns, turns_of
from fast_vc_service.engine.window import WindowConverter, WindowGeometry
from fast_vc_service.models.passthrough.converter import PassthroughConverter
from fast_vc_service.models.presets import MODELS
from fast_vc_service.models.seedvc.options import SeedVcSource
from fast_vc_service.models.world.model import WorldModel
from fast_vc_service.process.cuda import facts_of, why_unusable

CUDA_BATCH = 64
"""Most sessions a step that every family takes on a CUDA device, at least."""

Geometry = Literal["live", "file"]

DEFAULT_SOURCE = SeedVcSource()
QUANTUM_MS = 20
CLIENT_RATE = 48_000
"""Hz both ways for which ``latency_ms`` is stated."""


@dataclass(frozen=True)
class Family:
    """How one engine is built and driven.

    Attributes:
        build: Makes the converter for a block length in ms, on a device.
        block_ms: Default live block.
        min_block_ms: Shortest live block it keeps up with.
        file_block_ms: Block of the file geometry.
        max_batch: Most sessions a step; 1 for a family that only loops over its batch.
        threads: Model threads on a CPU; 0 means one a core. A CUDA device has one, whose batches
            are large: its kernels cost as much for one session as for many.
        gather_ms: How long a ready block waits for others to share its step.
        devices: Where it can run.
        downloads: Whether it needs files that the package does not hold.
        blends: Whether it knows voices between its voices.
        on_torch: Whether it runs on PyTorch; the others start without it.
        tolerance: Largest difference of a sample by which another batch, or another device, may
            give something else, in float32.
        torch_threads: Threads that PyTorch computes one operation with, be it a clip's check; 0 is
            its own choice.
    """

    build: Callable[[int, str], Converter]
    block_ms: int
    min_block_ms: int
    file_block_ms: int
    max_batch: int
    threads: int
    gather_ms: float = 0.0
    devices: tuple[str, ...] = ("cpu",)
    downloads: bool = False
    blends: bool = True
    on_torch: bool = True
    tolerance: float = 0.0
    # Cores are worth more to other sessions than to one step or one check of a clip.
    torch_threads: int = 1


def _build_world(block_ms: int, _device: str) -> Converter:
    # The model carries its pulse phase from window to window, so there is nothing to search for.
    geometry = WindowGeometry(
        block=_samples(block_ms),
        context=_samples(280),
        right=_samples(40),
        fade=_samples(20),
        search=0,
    )
    return WindowConverter(WorldModel(), geometry, high_passed=True)


def _build_passthrough(block_ms: int, _device: str) -> Converter:
    return PassthroughConverter(block_ms=block_ms, delay_ms=20)


def _build_nano(block_ms: int, device: str) -> Converter:
    # Imported here: the other engines of this table start without torch.
    import torch

    from fast_vc_service.models.nano.converter import NanoConverter
    from fast_vc_service.models.nano.load import WEIGHTS, load_networks

    return NanoConverter(load_networks(WEIGHTS, torch.device(device)), block_ms)


def _seedvc(name: str) -> Family:
    def build(block_ms: int, device: str, options: SeedVcSource = DEFAULT_SOURCE) -> Converter:
        # Brings torch with it, which the other engines do without.
        from fast_vc_service.engine import seedvc

        return seedvc.build(name, block_ms, device, options)

    return Family(
        build,
        block_ms=300,
        min_block_ms=100,
        file_block_ms=15_000,
        max_batch=64,
        threads=1,
        gather_ms=5.0,
        devices=("cpu", "cuda"),
        downloads=True,
        blends=False,
        tolerance=1e-3,
        torch_threads=0,
    )


FAMILIES = {
    "nano": Family(
        _build_nano,
        80,
        20,
        1000,
        max_batch=8,
        threads=0,
        gather_ms=2.0,
        devices=("cpu", "cuda"),
        tolerance=1e-4,
    ),
    # WORLD works session by session on one core; pyworld releases the interpreter lock.
    "world": Family(_build_world, 200, 100, 2000, max_batch=1, threads=0, on_torch=False),
    "passthrough": Family(
        _build_passthrough,
        20,
        20,
        1000,
        max_batch=256,
        threads=1,
        gather_ms=5.0,
        on_torch=False,
    ),
    **{name: _seedvc(name) for name in MODELS},
}

ENGINES = tuple(FAMILIES)
"""Names ``engine`` may have."""

DEVICES = ("cpu", "cuda")
"""Kinds of devices the engines of this version can use."""


def build_converter(
    engine: str,
    *,
    device: str = "cpu",
    latency_ms: int | None = None,
    geometry: Geometry = "live",
    options: SeedVcSource | None = None,
) -> Converter:
    """Build the converter of ``engine``.

    Args:
        engine: One of :data:`ENGINES`.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        latency_ms: Block + delay + resamplers for 48 kHz PCM both ways, rounded down to what
            whole 20 ms blocks allow; None takes the engine's own. Ignored for files.
        geometry: ``"live"``, or ``"file"`` with long blocks.
        options: What a family with options of its own is built with; None is its defaults.

    Raises:
        ValueError: Unknown engine or device, or a latency out of the engine's range.
        UserError: Files of the model are missing or damaged.
    """
    family = family_of(engine)
    _check_device(device, family.devices, engine)

    def build(block_ms: int) -> Converter:
        own = {} if options is None else {"options": options}
        with telling_device(device):
            converter = family.build(block_ms, device, **own)
        if not device.startswith("cuda"):
            return converter
        return TakingTurns(converter, turns_of(device), live=geometry == "live")

    if geometry == "file":
        return build(family.file_block_ms)
    if latency_ms is None:
        return build(family.block_ms)
    shortest = latency_of(build(family.min_block_ms))
    longest = latency_of(build(family.file_block_ms))
    if not shortest <= latency_ms <= longest:
        raise ValueError(
            f"latency_ms: expected {math.ceil(shortest)} to {math.floor(longest)} for {engine}; "
            f"got {latency_ms}"
        )
    spare = int((latency_ms - shortest) // QUANTUM_MS) * QUANTUM_MS
    return build(family.min_block_ms + spare)


def driven_on(family: Family, device: str) -> tuple[int, int]:
    """Return the model threads that drive ``family`` on ``device``, and the most sessions a step.

    Threads are 0 where there is to be one a core.
    """
    if device.startswith("cuda"):
        return 1, max(family.max_batch, CUDA_BATCH)
    return family.threads, family.max_batch


def first_device(devices: str) -> str:
    """Return the device for work that only one can do, of some separated by commas."""
    return devices.partition(",")[0]


def family_of(engine: str) -> Family:
    """Return the family of ``engine``.

    Raises:
        ValueError: There is none of that name.
    """
    if engine not in FAMILIES:
        raise ValueError(f"engine: expected one of {', '.join(ENGINES)}; got {engine!r}")
    return FAMILIES[engine]


def _check_device(device: str, kinds: tuple[str, ...], engine: str) -> None:
    kind, colon, index = device.partition(":")
    if kind not in DEVICES or (colon and not (kind == "cuda" and index.isdecimal())):
        raise ValueError(f"device: expected one of {', '.join(DEVICES)}, cuda:N; got {device!r}")
    if kind not in kinds:
        raise ValueError(f"device: expected {' or '.join(kinds)} for {engine}; got {device!r}")
    if kind == "cuda":
        from fast_vc_service.models.float32 import exact_float32

        number = int(index or 0)
        why = why_unusable(facts_of(number), number)
        if why is not None:
            raise ValueError(f"device: {device!r} cannot be used: {why}")
        exact_float32()


def latency_of(converter: Converter) -> float:
    """Return block + delay + both resamplers in ms, for 48 kHz PCM both ways."""
    resamplers_s = (
        StreamResampler(CLIENT_RATE, SAMPLE_RATE_IN).lookahead_s
        + StreamResampler(converter.sample_rate_out, CLIENT_RATE).lookahead_s
    )
    return 1e3 * ((converter.block + converter.delay) / SAMPLE_RATE_IN + resamplers_s)


def _samples(milliseconds: int) -> int:
    return milliseconds * SAMPLE_RATE_IN // 1000
