"""The ``seedvc`` family as a stream: files become a model, options a window geometry."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch

from fast_vc_service.contract import BLOCK_QUANTUM, SAMPLE_RATE_IN
from fast_vc_service.engine.window import WindowConverter, WindowGeometry
from fast_vc_service.models.hub import Hub, model_named
from fast_vc_service.models.seedvc.load import load_networks
from fast_vc_service.models.seedvc.model import SEARCH, SeedVcModel
from fast_vc_service.models.seedvc.options import SeedVcOptions, SeedVcSource
from fast_vc_service.models.seedvc.presets import PRESETS

MAX_WINDOW = 30 * SAMPLE_RATE_IN
"""Samples at 16 kHz: what Whisper's encoder hears at once."""


def build(name: str, block_ms: int, device: str, source: SeedVcSource) -> WindowConverter:
    """Build a converter; the networks are loaded once for all block lengths.

    Args:
        name: A published model's.
        block_ms: Block in ms, a multiple of 20.
        device: Where the networks run, as torch names it.
        source: See there.

    Raises:
        ValueError: The window would be longer than 30 s.
        UserError: Files are missing or are not what they should be.
    """
    shape = geometry(source.options, block_ms)
    if shape.window > MAX_WINDOW:
        raise ValueError(
            "seedvc_context_ms, seedvc_lookahead_ms, seedvc_crossfade_ms and the block: expected "
            f"at most {MAX_WINDOW // SAMPLE_RATE_IN} s in all, got "
            f"{shape.window / SAMPLE_RATE_IN:.2f} s"
        )
    hub = Hub(source.models_dir, source.cache_dir, endpoint=None)
    paths = dict(hub.paths(model_named(name)))
    if source.checkpoint is not None:
        paths["dit"] = source.checkpoint
    files = tuple(sorted(paths.items()))
    model = _model(name, files, source.models_dir / "converted", device, source.options)
    return WindowConverter(model, shape)


@lru_cache(maxsize=1)
def _model(
    name: str,
    files: tuple[tuple[str, Path], ...],
    converted_dir: Path,
    device: str,
    options: SeedVcOptions,
) -> SeedVcModel:
    preset = PRESETS[name.removeprefix("seedvc-")]
    networks = load_networks(preset, dict(files), converted_dir, torch.device(device))
    return SeedVcModel(networks, options, f"{name}-{_fingerprint(dict(files), options)}")


def _fingerprint(files: Mapping[str, Path], options: SeedVcOptions) -> str:
    """Tell apart what makes different voices: the files and the length of the prompt."""
    facts = [
        f"{use} {path.name} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for use, path in files.items()
    ]
    return hashlib.sha256("\n".join([*facts, str(options.prompt_s)]).encode()).hexdigest()[:8]


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
