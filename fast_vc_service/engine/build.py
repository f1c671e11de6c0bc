"""Makes an engine from plain values: converters on devices, their schedulers and voices."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fast_vc_service.contract import Converter, Voice
from fast_vc_service.engine.capacity import Capacity
from fast_vc_service.engine.catalogue import VoiceCatalogue
from fast_vc_service.engine.families import DEFAULT_SOURCE, build_converter, family_of
from fast_vc_service.engine.placement import Lane, Placement
from fast_vc_service.engine.scheduler import Post, Scheduler, Slot
from fast_vc_service.engine.uploaded_voices import UploadedVoices
from fast_vc_service.engine.voices import VoiceStore
from fast_vc_service.models.seedvc.options import SeedVcOptions, SeedVcSource
from fast_vc_service.settings.model import Settings


@dataclass
class Engine:
    """A converter on one or more devices, with its voices, ready to be warmed up.

    Attributes:
        name: One of :data:`~fast_vc_service.engine.families.ENGINES`.
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
        engine: One of :data:`~fast_vc_service.engine.families.ENGINES`.
        device: One or more devices, separated by commas (``"cuda:0,cuda:1"``).
        latency_ms: See :func:`.families.build_converter`.
        voices_dir: Folder of reference clips; each is a voice.
        default_voice: Name of the voice of sessions that choose none.
        cache_dir: Where voices made of the clips of ``voices_dir`` are kept.
        data_dir: Where voices that users add are kept.
        max_voices: How many of them one owner may add.
        max_sessions: Overrides the measured capacity.
        seedvc: See :func:`.families.build_converter`.
        on_step: Called from a model thread after each step with (wall seconds, batch size).

    Raises:
        ValueError: See :func:`.families.build_converter`.
        UserError: See :func:`.families.build_converter`.
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

    family = family_of(engine)
    placement = Placement([lane(name) for name in device.split(",")], max_sessions)
    voices = build_catalogue(
        engine,
        placement.lanes[0].converter,
        voices_dir=voices_dir,
        default_voice=default_voice,
        cache_dir=cache_dir,
        data_dir=data_dir,
        max_voices=max_voices,
    )
    return Engine(engine, placement, voices)


def engine_of(settings: Settings, *, on_step: Callable[[float, int], None]) -> Engine:
    """Build the engine that the settings describe; see :func:`build_engine`."""
    return build_engine(
        settings.engine,
        device=settings.device,
        latency_ms=settings.latency_ms,
        voices_dir=settings.voices_dir,
        default_voice=settings.default_voice,
        cache_dir=settings.models_dir / "voices",
        data_dir=settings.data_dir,
        max_voices=settings.max_voices,
        max_sessions=settings.max_sessions,
        seedvc=seedvc_source(settings),
        on_step=on_step,
    )


def build_catalogue(
    engine: str,
    converter: Converter,
    *,
    voices_dir: Path,
    default_voice: str,
    cache_dir: Path,
    data_dir: Path,
    max_voices: int = 50,
) -> VoiceCatalogue:
    """Build the voices for ``converter``; arguments as of :func:`build_engine`."""
    clips = VoiceStore(
        voices_dir,
        converter,
        cache_dir,
        default_voice,
        # Looking at a clip takes networks, which a service that needs none does not load for it.
        checks_clips=family_of(engine).on_torch,
    )
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
