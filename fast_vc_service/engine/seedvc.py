"""The ``seedvc`` family as a stream: options become a window geometry."""

from __future__ import annotations

from fast_vc_service.contract import BLOCK_QUANTUM, SAMPLE_RATE_IN
from fast_vc_service.engine.window import WindowGeometry
from fast_vc_service.models.seedvc.model import SEARCH
from fast_vc_service.models.seedvc.options import SeedVcOptions


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
