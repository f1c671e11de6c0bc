"""The ``seedvc`` family as a stream: files become a model, options a window geometry.

The networks are loaded when they are first needed. In the service that is the warm-up, which runs
when the sockets are bound already.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loguru import logger

from fast_vc_service.contract import BLOCK_QUANTUM, SAMPLE_RATE_IN, FloatArray, Voice
from fast_vc_service.engine.device_errors import is_out_of_memory, telling_device
from fast_vc_service.engine.window import WindowConverter, WindowGeometry
from fast_vc_service.models.hub import Hub, model_named
from fast_vc_service.models.seedvc.config import read_config
from fast_vc_service.models.seedvc.graphs import Graphs
from fast_vc_service.models.seedvc.load import load_networks
from fast_vc_service.models.seedvc.model import SEARCH, SeedVcModel
from fast_vc_service.models.seedvc.options import SeedVcOptions, SeedVcSource
from fast_vc_service.models.seedvc.presets import PRESETS, Preset
from fast_vc_service.process.cuda import facts_of, why_no_bfloat16

MAX_WINDOW = 30 * SAMPLE_RATE_IN
"""Samples at 16 kHz: what Whisper's encoder hears at once."""


def build(name: str, block_ms: int, device: str, source: SeedVcSource) -> WindowConverter:
    """Build a converter; the networks are loaded at first use, once for all block lengths.

    Args:
        name: A published model's.
        block_ms: Block in ms, a multiple of 20.
        device: Where the networks run, as torch names it.
        source: See there.

    Raises:
        ValueError: The window would be longer than 30 s, an option is not for this device, or the
            configuration cannot be used.
        UserError: Files are missing.
    """
    if source.options.cuda_graphs and not device.startswith("cuda"):
        raise ValueError(f"seedvc_cuda_graphs: expected false on {device}, got true")
    if source.options.precision == "bfloat16" and device.startswith("cuda"):
        why = why_no_bfloat16(facts_of(int(device.partition(":")[2] or 0)))
        if why is not None:
            raise ValueError(f"seedvc_precision: {why}")
    if source.options.compile and device.startswith("cuda") and not _compiler():
        raise ValueError(
            f"seedvc_compile: expected a C compiler on {device}, found none; "
            "try `apt-get install g++`"
        )
    shape = geometry(source.options, block_ms)
    if shape.window > MAX_WINDOW:
        raise ValueError(
            "seedvc_context_ms, seedvc_lookahead_ms, seedvc_crossfade_ms and the block: expected "
            f"at most {MAX_WINDOW // SAMPLE_RATE_IN} s in all, got "
            f"{shape.window / SAMPLE_RATE_IN:.2f} s"
        )
    preset, wanted = PRESETS[name.removeprefix("seedvc-")], dict(model_named(name).files)
    if source.config is not None:
        preset, wanted = read_config(source.config)
    if source.checkpoint is not None:
        wanted.pop("dit", None)
    paths = Hub(source.models_dir, source.cache_dir, endpoint=None).paths(wanted)
    if source.checkpoint is not None:
        paths["dit"] = source.checkpoint
        if not source.checkpoint.is_file():
            raise ValueError(f"seedvc_checkpoint: there is no file {source.checkpoint}")
    files = tuple(sorted(paths.items()))
    model = _model(name, preset, files, device=device, source=source)
    if source.options.cuda_graphs:
        return GraphedConverter(model, shape)
    return WindowConverter(model, shape, high_passed=True)


def _compiler() -> str | None:
    """Where torch.compile finds a C compiler for what launches its kernels."""
    wanted = os.environ.get("CC"), "gcc", "clang", "cc"
    return next((found for name in wanted if name and (found := shutil.which(name))), None)


class GraphedConverter(WindowConverter):
    """One whose live steps are recorded as CUDA graphs; see :class:`.RecordsSteps`."""

    def __init__(self, model: DeferredModel, shape: WindowGeometry) -> None:
        super().__init__(model, shape, high_passed=True)
        self._deferred = model

    def record(self, voice: Voice, max_batch: int) -> int:
        """Record the largest power of two first; the smaller ones fit into its memory."""
        graphs = self._deferred.graphs()
        rows = 1 << (max_batch.bit_length() - 1)
        with graphs.being_recorded():
            while rows:
                self._record(voice, rows)
                rows //= 2
        return graphs.largest

    def _record(self, voice: Voice, rows: int) -> None:
        states = [self.new_state(voice, seed=row) for row in range(rows)]
        try:
            self.step(np.zeros((rows, self.block), np.float32), states)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            logger.warning("no memory for a step over {} sessions", rows)


class DeferredModel:
    """A window model that exists from its first use on.

    Args:
        family: See :class:`~fast_vc_service.engine.window.WindowModel`.
        sample_rate_out: See there.
        load: Makes the model; called once.
    """

    def __init__(self, family: str, sample_rate_out: int, load: Callable[[], SeedVcModel]) -> None:
        self.family = family
        self.sample_rate_out = sample_rate_out
        self._load = load
        self._lock = threading.Lock()
        self._loaded: SeedVcModel | None = None

    def graphs(self) -> Graphs:
        """See :attr:`SeedVcModel.graphs`."""
        return self._model().graphs

    def blend_voices(self, name: str, parts: Sequence[tuple[Voice, float]]) -> Voice:
        """See :meth:`SeedVcModel.blend_voices`."""
        return self._model().blend_voices(name, parts)

    def make_voice(self, name: str, audio: FloatArray, sample_rate: int) -> Voice:
        """See :meth:`SeedVcModel.make_voice`."""
        return self._model().make_voice(name, audio, sample_rate)

    def new_memory(
        self, voice: Voice, pitch_shift: float, seed: int, source_f0_hz: float | None = None
    ) -> Any:
        """See :meth:`SeedVcModel.new_memory`."""
        return self._model().new_memory(voice, pitch_shift, seed, source_f0_hz)

    def retarget(self, memory: Any, voice: Voice, pitch_shift: float) -> Any:
        """See :meth:`SeedVcModel.retarget`."""
        return self._model().retarget(memory, voice, pitch_shift)

    def convert(
        self,
        windows: FloatArray,
        new_samples: int,
        right_samples: int,
        memories: Sequence[Any],
        positions: Sequence[int],
    ) -> tuple[FloatArray, list[Any]]:
        """See :meth:`SeedVcModel.convert`."""
        return self._model().convert(windows, new_samples, right_samples, memories, positions)

    def _model(self) -> SeedVcModel:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded


# One a device; what was never used has loaded nothing.
@lru_cache(maxsize=16)
def _model(
    name: str,
    preset: Preset,
    files: tuple[tuple[str, Path], ...],
    *,
    device: str,
    source: SeedVcSource,
) -> DeferredModel:
    family = f"{name}-{_fingerprint(preset, dict(files), source.options)}"

    def load() -> SeedVcModel:
        converted = source.models_dir / "converted"
        networks = load_networks(preset, dict(files), converted)
        with telling_device(device):
            return SeedVcModel(networks, source.options, family, torch.device(device))

    return DeferredModel(family, preset.mel.sample_rate, load)


def _fingerprint(preset: Preset, files: Mapping[str, Path], options: SeedVcOptions) -> str:
    """Tell apart what makes different voices: networks, and how the prompt goes through them."""
    facts = [
        f"{use} {path.name} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for use, path in files.items()
    ]
    facts += [str(preset), str(options.prompt_s), options.precision]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]


def geometry(options: SeedVcOptions, block_ms: int) -> WindowGeometry:
    """Return the window of the published live program, whose search lies half on each side here.

    The window holds ``context_ms``, what joining needs, the block and the look-ahead; the delay is
    look-ahead + cross-fade + search.
    """
    lookahead, fade = _samples(options.lookahead_ms), _samples(options.crossfade_ms)
    return WindowGeometry(
        block=_samples(block_ms),
        context=_samples(options.context_ms) + fade + SEARCH + lookahead,
        right=lookahead + SEARCH // 2,
        fade=fade,
        search=SEARCH,
    )


def _samples(milliseconds: int) -> int:
    return milliseconds * SAMPLE_RATE_IN // 1000 // BLOCK_QUANTUM * BLOCK_QUANTUM
