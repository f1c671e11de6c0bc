"""How a Seed-VC converter is driven, apart from its weights: spec section 14 in our units."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Precision = Literal["float32", "bfloat16", "float16"]

UNIT_MS = 20
"""All lengths are whole multiples of this."""


@dataclass(frozen=True)
class SeedVcOptions:
    """Settings of the family; the defaults are the published live program's.

    Attributes:
        steps: Euler steps of the sampler.
        guidance: Classifier-free guidance rate; 0 halves the transformer's work.
        prompt_s: Seconds of the reference that are the prompt. A shorter one is repeated up to it,
            so that all sessions have the same number of frames and share one batch.
        context_ms: Past that the content encoder hears.
        dit_context_ms: Past that the transformer sees; at most ``context_ms``.
        lookahead_ms: Future that both see.
        crossfade_ms: From block to block.
        register_match: Move the source's register to the voice's (presets with F0).
        loudness_mix: 0 leaves the loudness as it comes, 1 gives it the source's contour.
        gate: Silence where nobody speaks.
        hangover_ms: How long the gate stays open after speech.
        precision: Of transformer and content encoder; all else runs in float32.
        prompt_every: The prompt's frames are taken through the transformer in every n-th step of
            the sampler; above 1 an approximation.
        compile: Whether ``torch.compile`` makes transformer and BigVGAN.
        cuda_graphs: Whether sampler, vocoder and gate are recorded as CUDA graphs.
    """

    steps: int = 10
    guidance: float = 0.7
    prompt_s: float = 3.0
    context_ms: int = 2500
    dit_context_ms: int = 500
    lookahead_ms: int = 20
    crossfade_ms: int = 40
    register_match: bool = True
    loudness_mix: float = 0.0
    gate: bool = True
    hangover_ms: int = 200
    precision: Precision = "float32"
    prompt_every: int = 1
    compile: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        for name in ("context_ms", "dit_context_ms", "lookahead_ms", "crossfade_ms"):
            value = getattr(self, name)
            if value % UNIT_MS or value < UNIT_MS:
                raise ValueError(
                    f"{name}: expected a multiple of {UNIT_MS} of at least {UNIT_MS}, got {value}"
                )
        if self.dit_context_ms > self.context_ms:
            raise ValueError(
                f"dit_context_ms: expected at most context_ms ({self.context_ms}), "
                f"got {self.dit_context_ms}"
            )


@dataclass(frozen=True)
class SeedVcSource:
    """Where a model comes from and how it is driven.

    Attributes:
        models_dir: Models' folder.
        cache_dir: Cache of downloads.
        checkpoint: A fine-tuned checkpoint in place of the published transformer and length
            regulator; None takes the published one.
        config: Sizes of the networks in ``checkpoint``, as the training program writes them; None
            if they are those of the engine's preset.
        options: See there.

    Raises:
        ValueError: A configuration without a checkpoint.
    """

    models_dir: Path = Path("checkpoints")
    cache_dir: Path = Path("checkpoints/hf")
    checkpoint: Path | None = None
    config: Path | None = None
    options: SeedVcOptions = SeedVcOptions()

    def __post_init__(self) -> None:
        if self.config is not None and self.checkpoint is None:
            raise ValueError("seedvc_config: expected with seedvc_checkpoint, got it alone")
