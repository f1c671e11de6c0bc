"""Sizes of the diffusion transformer, and how its checkpoint names things."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fast_vc_service.models.checkpoint import Table


@dataclass(frozen=True)
class DitConfig:
    """Sizes of a diffusion transformer.

    Attributes:
        mels: Mel bins.
        width: Channels of the transformer.
        heads: Attention heads.
        depth: Layers.
        condition: Channels of the condition.
        tokens: Time and style are tokens in front of the frames; else the time drives the norms
            and the style is given to every frame.
        skips: U-ViT skips: later layers see the output of earlier ones.
        long_skip: The last layers see the state of the flow again.
        wavenet: Channels of the last layers as a WaveNet, those of the transformer; 0 for a plain
            network.
    """

    mels: int
    width: int
    heads: int
    depth: int
    condition: int
    tokens: bool = False
    skips: bool = True
    long_skip: bool = False
    wavenet: int = 0

    @property
    def inner(self) -> int:
        """Channels inside the feed-forward network."""
        return math.ceil(8 * self.width // 3 / 256) * 256

    def takes_skip(self, layer: int) -> bool:
        """Return whether ``layer`` sees the output of an earlier one."""
        return self.skips and layer > self.depth // 2


def table(config: DitConfig) -> Table:
    """Return the table of a network of this shape."""
    layer = "estimator.transformer.layers.{l}"
    names = {
        f"{layer}.attention.wqkv": "layers.{l}.attention.qkv",
        f"{layer}.attention.wo": "layers.{l}.attention.out",
        f"{layer}.feed_forward.w1": "layers.{l}.feed_forward.gate",
        f"{layer}.feed_forward.w3": "layers.{l}.feed_forward.up",
        f"{layer}.feed_forward.w2": "layers.{l}.feed_forward.down",
        f"{layer}.attention_norm.norm": "layers.{l}.attention_norm.gain",
        f"{layer}.attention_norm.project_layer": "layers.{l}.attention_norm.time",
        f"{layer}.ffn_norm.norm": "layers.{l}.feed_forward_norm.gain",
        f"{layer}.ffn_norm.project_layer": "layers.{l}.feed_forward_norm.time",
        f"{layer}.skip_in_linear": "layers.{l}.skip",
        "estimator.transformer.norm.norm": "norm.gain",
        "estimator.transformer.norm.project_layer": "norm.time",
        "estimator.t_embedder.mlp.{k}": "time.{k}",
        "estimator.t_embedder2.mlp.{k}": "wavenet_time.{k}",
        "estimator.cond_projection": "condition_in",
        "estimator.cond_x_merge_linear": "merge",
        "estimator.style_in": "style_in",
        "estimator.skip_linear": "long_skip",
        "estimator.final_mlp.{k}": "final.{k}",
        "estimator.conv1": "wavenet_in",
        "estimator.res_projection": "wavenet_skip",
        "estimator.wavenet.cond_layer.conv.conv": "wavenet.time",
        "estimator.wavenet.in_layers.{l}.conv.conv": "wavenet.gates.{l}",
        "estimator.wavenet.res_skip_layers.{l}.conv.conv": "wavenet.splits.{l}",
        "estimator.final_layer.adaLN_modulation.1": "final_time",
        "estimator.final_layer.linear": "final_linear",
        "estimator.conv2": "final_conv",
    }
    # The weight of a norm is a bare parameter of ours.
    names = {
        (f"{theirs}.weight" if ours.endswith(".gain") else theirs): ours
        for theirs, ours in names.items()
    }
    unused = [
        "estimator.input_pos",
        "estimator.t_embedder.freqs",
        "estimator.t_embedder2.freqs",
        "estimator.x_embedder",
        "estimator.cond_embedder",
        "estimator.content_mask_embedder",
    ]
    if config.tokens:
        unused += [f"{layer}.attention_norm.project_layer", f"{layer}.ffn_norm.project_layer"]
    unused += [
        f"estimator.transformer.layers.{index}.skip_in_linear"
        for index in range(config.depth)
        if not config.takes_skip(index)
    ]
    if not config.long_skip:
        unused.append("estimator.skip_linear")
    return Table("DiT", names, tuple(unused))
