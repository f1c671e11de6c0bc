"""Makes an engine from plain values: converters on devices, and the schedulers that run them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path

from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, Voice
from fast_vc_service.engine.best_capacity import BestCapacity
from fast_vc_service.engine.capacity import Capacity
from fast_vc_service.engine.families import build_converter, driven_on, family_of
from fast_vc_service.engine.learned_capacity import Answer
from fast_vc_service.engine.placement import Lane, Placement
from fast_vc_service.engine.posting import Post
from fast_vc_service.engine.scheduler import Scheduler, Slot
from fast_vc_service.engine.supervision import OnRestart, ignore_restart
from fast_vc_service.models.presets import MODELS
from fast_vc_service.models.seedvc.options import SeedVcOptions, SeedVcSource
from fast_vc_service.settings.model import Settings

BEST_FILE = "capacity.json"
"""In ``data_dir``."""

ADVICE = "stop other programs, set a greater latency_ms"
"""What helps a machine that carries too few sessions."""


@dataclass
class Engine:
    """A converter on one or more devices, ready to be warmed up.

    Attributes:
        name: One of :data:`~fast_vc_service.engine.families.ENGINES`.
        placement: Its devices and who runs where.
        best: The most sessions that ever fitted on this machine.
    """

    name: str
    placement: Placement
    best: BestCapacity = field(default_factory=lambda: BestCapacity(None, ""))

    @property
    def converter(self) -> Converter:
        """The converter of the first device; all have the same geometry."""
        return self.placement.lanes[0].converter

    @property
    def blends(self) -> bool:
        """Whether blends of its voices can be chosen."""
        return family_of(self.name).blends

    @property
    def live(self) -> int:
        """Sessions that hold a slot."""
        return self.placement.live

    @property
    def capacity(self) -> int:
        """Live sessions admitted at present; 0 before :meth:`warm_up`."""
        return self.placement.capacity

    @property
    def failed(self) -> bool:
        """Whether a device has lost its model threads for good."""
        return self.placement.failed

    def reserve(self, *, post: Post, log_id: str) -> Slot:
        """Take a slot on the least loaded device for a new session.

        Raises:
            CapacityError: All slots are taken.
        """
        return self.placement.reserve(post=post, log_id=log_id)

    def check(self, elapsed_s: float) -> None:
        """Replace model threads that have died or hung; see :meth:`.Scheduler.check`."""
        self.placement.check(elapsed_s)

    def warm_up(self, voice: Voice) -> list[Capacity]:
        """Start the model threads and measure, with any voice, each device's capacity.

        Blocks for seconds; call it off the event loop.
        """
        measured = self.placement.warm_up(voice)
        self.best.note(self.placement.limit)
        return measured

    def measure_again(self) -> bool:
        """See :meth:`.Placement.measure_again`."""
        return self.placement.measure_again()

    def note_best(self) -> None:
        """Remember how many sessions fit at present, if they never were as many."""
        self.best.note(self.placement.limit)

    @property
    def warnings(self) -> list[str]:
        """What whoever operates it should know: it is too slow, or slower than it was."""
        slow = self.placement.too_slow
        if slow is not None:
            return [
                f"too slow: not even one live session is converted in time on {slow.device}; "
                f"{ADVICE}, or use a faster machine"
            ]
        limit, best = self.placement.limit, self.best.sessions
        if 0 < 2 * limit < best:
            return [
                f"{limit} live sessions fit, and this machine had room for {best}: something "
                f"else is using it; {ADVICE}"
            ]
        return []

    def stop(self) -> bool:
        """Stop the model threads; return whether all have ended within a limit."""
        return self.placement.stop()


def build_engine(
    engine: str,
    *,
    device: str,
    latency_ms: int | None,
    max_sessions: int | None = None,
    options: SeedVcSource | None = None,
    best_file: Path | None = None,
    on_step: Callable[[float, int], None],
    on_restart: OnRestart = ignore_restart,
) -> Engine:
    """Build an engine for live sessions.

    Args:
        engine: One of :data:`~fast_vc_service.engine.families.ENGINES`.
        device: One or more devices, separated by commas (``"cuda:0,cuda:1"``).
        latency_ms: See :func:`.families.build_converter`.
        max_sessions: Overrides the measured capacity.
        options: See :func:`.families.build_converter`.
        best_file: Where the most sessions that ever fitted are remembered; None remembers nothing.
        on_step: Called from a model thread after each step with (wall seconds, batch size).
        on_restart: Told of every model thread that is replaced.

    Raises:
        ValueError: See :func:`.families.build_converter`.
        UserError: See :func:`.families.build_converter`.
    """

    def lane(name: str) -> Lane:
        converter = build_converter(engine, device=name, latency_ms=latency_ms, options=options)
        one_a_core, max_batch = driven_on(family, name)
        threads = one_a_core or cores()

        def answered(answer: Answer) -> None:
            built.observe(answer)

        scheduler = Scheduler(
            converter,
            threads=threads,
            max_batch=max_batch,
            gather_s=family.gather_ms / 1e3,
            on_step=on_step,
            on_answer=answered,
            on_restart=on_restart,
            hangs_for_good=name.startswith("cuda"),
        )
        built = Lane(name, converter, scheduler, threads, max_batch)
        return built

    family = family_of(engine)
    placement = Placement([lane(name) for name in device.split(",")], max_sessions)
    converter = placement.lanes[0].converter
    name = f"{engine} on {device}, {converter.block}+{converter.delay} at {SAMPLE_RATE_IN} Hz"
    return Engine(engine, placement, BestCapacity(best_file, name))


def engine_of(
    settings: Settings,
    *,
    on_step: Callable[[float, int], None],
    on_restart: OnRestart = ignore_restart,
) -> Engine:
    """Build the engine that the settings describe; see :func:`build_engine`."""
    return build_engine(
        settings.engine,
        device=settings.device,
        latency_ms=settings.latency_ms,
        max_sessions=settings.max_sessions,
        options=options_of(settings),
        best_file=settings.data_dir / BEST_FILE,
        on_step=on_step,
        on_restart=on_restart,
    )


def options_of(settings: Settings) -> SeedVcSource | None:
    """Return the options of the engine's own family that the settings hold; most have none.

    Raises:
        ValueError: Two settings exclude each other.
    """
    if settings.engine not in MODELS:
        return None
    values = {
        option.name: getattr(settings, f"seedvc_{option.name}") for option in fields(SeedVcOptions)
    }
    return SeedVcSource(
        models_dir=settings.models_dir,
        cache_dir=settings.hf_hub_cache or settings.models_dir / "hf",
        checkpoint=settings.seedvc_checkpoint,
        config=settings.seedvc_config,
        options=SeedVcOptions(**values),
    )


def cores() -> int:
    """Return the cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
