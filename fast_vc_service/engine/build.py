"""Makes an engine from plain values: the one place that knows every model family by name."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fast_vc_service.audio.resample import StreamResampler
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, Voice
from fast_vc_service.engine.capacity import Capacity
from fast_vc_service.engine.catalogue import VoiceCatalogue
from fast_vc_service.engine.placement import Lane, Placement
from fast_vc_service.engine.scheduler import Post, Scheduler, Slot
from fast_vc_service.engine.uploaded_voices import UploadedVoices
from fast_vc_service.engine.voices import VoiceStore
from fast_vc_service.engine.window import WindowConverter, WindowGeometry
from fast_vc_service.models.passthrough.converter import PassthroughConverter
from fast_vc_service.models.presets import MODELS
from fast_vc_service.models.seedvc.options import SeedVcOptions, SeedVcSource
from fast_vc_service.models.world.model import WorldModel
from fast_vc_service.settings.model import Settings

Geometry = Literal["live", "file"]

QUANTUM_MS = 20
CLIENT_RATE = 48_000
"""Hz both ways for which ``latency_ms`` is stated."""


@dataclass(frozen=True)
class Family:
    """How one engine is built and driven.

    Attributes:
        build: Makes the converter for a block length in ms, on a device, from these weights.
        block_ms: Default live block.
        min_block_ms: Shortest live block it keeps up with.
        file_block_ms: Block of the file geometry.
        max_batch: Most sessions a step; 1 for a family that only loops over its batch.
        threads: Model threads; 0 means one a core.
        gather_ms: How long a ready block waits for others to share its step.
        devices: Where it can run.
        downloads: Whether it needs files that the package does not hold.
    """

    build: Callable[[int, str, SeedVcSource], Converter]
    block_ms: int
    min_block_ms: int
    file_block_ms: int
    max_batch: int
    threads: int
    gather_ms: float = 0.0
    devices: tuple[str, ...] = ("cpu",)
    downloads: bool = False


def _build_world(block_ms: int, _device: str, _source: SeedVcSource) -> Converter:
    # The model carries its pulse phase from window to window, so there is nothing to search for.
    geometry = WindowGeometry(
        block=_samples(block_ms),
        context=_samples(280),
        right=_samples(40),
        fade=_samples(20),
        search=0,
    )
    return WindowConverter(WorldModel(), geometry)


def _build_passthrough(block_ms: int, _device: str, _source: SeedVcSource) -> Converter:
    return PassthroughConverter(block_ms=block_ms, delay_ms=20)


def _build_nano(block_ms: int, device: str, _source: SeedVcSource) -> Converter:
    # Imported here: the other engines of this table start without torch.
    import torch

    from fast_vc_service.models.nano.converter import NanoConverter
    from fast_vc_service.models.nano.load import WEIGHTS, load_networks

    # Its matrices are small: cores are worth more to other sessions than to one step.
    torch.set_num_threads(1)
    return NanoConverter(load_networks(WEIGHTS, torch.device(device)), block_ms)


def _seedvc(name: str) -> Family:
    def build(block_ms: int, device: str, source: SeedVcSource) -> Converter:
        # Brings torch with it, which the other engines do without.
        from fast_vc_service.engine import seedvc

        return seedvc.build(name, block_ms, device, source)

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
    ),
    # WORLD works session by session on one core; pyworld releases the interpreter lock.
    "world": Family(_build_world, 200, 100, 2000, max_batch=1, threads=0),
    "passthrough": Family(
        _build_passthrough, 20, 20, 1000, max_batch=256, threads=1, gather_ms=5.0
    ),
    **{name: _seedvc(name) for name in MODELS},
}

DEFAULT_SOURCE = SeedVcSource()

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
    seedvc: SeedVcSource = DEFAULT_SOURCE,
) -> Converter:
    """Build the converter of ``engine``.

    Args:
        engine: One of :data:`ENGINES`.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        latency_ms: Block + delay + resamplers for 48 kHz PCM both ways, rounded down to what
            whole 20 ms blocks allow; None takes the engine's own. Ignored for files.
        geometry: ``"live"``, or ``"file"`` with long blocks.
        seedvc: Weights and options of the engines of that family.

    Raises:
        ValueError: Unknown engine or device, or a latency out of the engine's range.
        UserError: Files of the model are missing or damaged.
    """
    family = _family(engine)
    _check_device(device, family.devices, engine)

    def build(block_ms: int) -> Converter:
        return family.build(block_ms, device, seedvc)

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


def _family(engine: str) -> Family:
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
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(index or 0) >= count:
            raise ValueError(
                f"device: expected cpu or one of the {count} CUDA devices that torch finds; "
                f"got {device!r}"
            )


def latency_of(converter: Converter) -> float:
    """Return block + delay + both resamplers in ms, for 48 kHz PCM both ways."""
    resamplers_s = (
        StreamResampler(CLIENT_RATE, SAMPLE_RATE_IN).lookahead_s
        + StreamResampler(converter.sample_rate_out, CLIENT_RATE).lookahead_s
    )
    return 1e3 * ((converter.block + converter.delay) / SAMPLE_RATE_IN + resamplers_s)


@dataclass
class Engine:
    """A converter on one or more devices, with its voices, ready to be warmed up.

    Attributes:
        name: One of :data:`ENGINES`.
        placement: Its devices and who runs where.
        voices: What sessions may choose from.
    """

    name: str
    placement: Placement
    voices: VoiceCatalogue

    @property
    def converter(self) -> Converter:
        """The converter of the first device; all have the same geometry."""
        return self.placement.lanes[0].converter

    @property
    def live(self) -> int:
        """Sessions that hold a slot."""
        return self.placement.live

    @property
    def capacity(self) -> int:
        """Live sessions admitted at present; 0 before :meth:`warm_up`."""
        return self.placement.capacity

    def open(self, voice: Voice, pitch_shift: float, seed: int, *, post: Post) -> Slot:
        """Take a slot on the least loaded device for a new session.

        Raises:
            CapacityError: All slots are taken.
        """
        return self.placement.open(voice, pitch_shift, seed, post=post)

    def warm_up(self) -> list[Capacity]:
        """Make the default voice, start the model threads and measure each device's capacity.

        Blocks for seconds; call it off the event loop.

        Raises:
            LookupError: The default voice does not exist.
            ValueError: The default voice's clip cannot make a voice.
        """
        return self.placement.warm_up(self.voices.get(self.voices.default))

    def stop(self) -> None:
        """Stop the model threads."""
        self.placement.stop()


def build_engine(
    engine: str,
    *,
    device: str,
    latency_ms: int | None,
    voices_dir: Path,
    default_voice: str,
    cache_dir: Path,
    data_dir: Path,
    max_voices: int = 50,
    max_sessions: int | None = None,
    seedvc: SeedVcSource = DEFAULT_SOURCE,
    on_step: Callable[[float, int], None],
) -> Engine:
    """Build an engine for live sessions.

    Args:
        engine: One of :data:`ENGINES`.
        device: One or more devices, separated by commas (``"cuda:0,cuda:1"``).
        latency_ms: See :func:`build_converter`.
        voices_dir: Folder of reference clips; each is a voice.
        default_voice: Name of the voice of sessions that choose none.
        cache_dir: Where voices made of the clips of ``voices_dir`` are kept.
        data_dir: Where voices that users add are kept.
        max_voices: How many of them one owner may add.
        max_sessions: Overrides the measured capacity.
        seedvc: See :func:`build_converter`.
        on_step: Called from a model thread after each step with (wall seconds, batch size).

    Raises:
        ValueError: See :func:`build_converter`.
        UserError: See :func:`build_converter`.
    """

    def lane(name: str) -> Lane:
        converter = build_converter(engine, device=name, latency_ms=latency_ms, seedvc=seedvc)
        threads = family.threads or cores()

        def stepped(seconds: float, batch: int) -> None:
            built.observe(seconds, batch)
            on_step(seconds, batch)

        scheduler = Scheduler(
            converter,
            threads=threads,
            max_batch=family.max_batch,
            gather_s=family.gather_ms / 1e3,
            on_step=stepped,
        )
        built = Lane(name, converter, scheduler, threads, family.max_batch)
        return built

    family = _family(engine)
    placement = Placement([lane(name) for name in device.split(",")], max_sessions)
    voices = build_catalogue(
        placement.lanes[0].converter,
        voices_dir=voices_dir,
        default_voice=default_voice,
        cache_dir=cache_dir,
        data_dir=data_dir,
        max_voices=max_voices,
    )
    return Engine(engine, placement, voices)


def build_catalogue(
    converter: Converter,
    *,
    voices_dir: Path,
    default_voice: str,
    cache_dir: Path,
    data_dir: Path,
    max_voices: int = 50,
) -> VoiceCatalogue:
    """Build the voices for ``converter``; arguments as of :func:`build_engine`."""
    clips = VoiceStore(voices_dir, converter, cache_dir, default_voice)
    return VoiceCatalogue(clips, UploadedVoices(data_dir / "voices"), converter, max_voices)


def seedvc_source(settings: Settings) -> SeedVcSource:
    """Return what the settings say of the ``seedvc`` engines.

    Raises:
        ValueError: Two settings exclude each other.
    """
    return SeedVcSource(
        models_dir=settings.models_dir,
        cache_dir=settings.hf_hub_cache or settings.models_dir / "hf",
        checkpoint=settings.seedvc_checkpoint,
        config=settings.seedvc_config,
        options=SeedVcOptions(
            steps=settings.seedvc_steps,
            guidance=settings.seedvc_guidance,
            prompt_s=settings.seedvc_prompt_s,
            context_ms=settings.seedvc_context_ms,
            dit_context_ms=settings.seedvc_dit_context_ms,
            lookahead_ms=settings.seedvc_lookahead_ms,
            crossfade_ms=settings.seedvc_crossfade_ms,
            register_match=settings.seedvc_register_match,
            loudness_mix=settings.seedvc_loudness_mix,
            gate=settings.seedvc_gate,
            hangover_ms=settings.seedvc_hangover_ms,
            precision=settings.seedvc_precision,
            prompt_every=settings.seedvc_prompt_every,
            compiled=settings.seedvc_compile,
            cuda_graphs=settings.seedvc_cuda_graphs,
        ),
    )


def cores() -> int:
    """Return the cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _samples(milliseconds: int) -> int:
    return milliseconds * SAMPLE_RATE_IN // 1000
