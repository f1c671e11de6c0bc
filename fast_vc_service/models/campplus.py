"""CAM++ speaker encoder: the 192 numbers that say whose voice a clip is.

Wang et al., "CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware
Masking", 2023. The published weights are those of 3D-Speaker (``campplus_cn_common``).
"""

from __future__ import annotations

from pathlib import Path

import torch
from loguru import logger
from torch import Tensor, nn
from torch.nn import functional

from fast_vc_service.audio.fbank import BINS, FRAME_SAMPLES, HOP_SAMPLES, kaldi_fbank
from fast_vc_service.models.checkpoint import Table, load_published, read_checkpoint

EMBEDDING = 192
"""Numbers of a speaker embedding."""

MIN_SAMPLES = FRAME_SAMPLES + 2 * HOP_SAMPLES
"""Samples at 16 kHz of the shortest clip that has a deviation over time: 45 ms."""

_HEAD = 32  # channels of the two-dimensional layers
_WIDTH = 128  # channels of the first and of every inner layer
_GROWTH = 32  # channels a dense layer adds
_SEGMENT = 100  # frames over which the context mask averages
_BLOCKS = ((12, 1), (24, 2), (16, 2))  # dense layers, dilation

TABLE = Table(
    "CAM++",
    {
        "head.conv1": "head.first.0",
        "head.bn1": "head.first.1",
        "head.layer{s}.{b}.conv{c}": "head.stages.{s-1}.{b}.convs.{c-1}",
        "head.layer{s}.{b}.bn{c}": "head.stages.{s-1}.{b}.norms.{c-1}",
        "head.layer{s}.{b}.shortcut.{k}": "head.stages.{s-1}.{b}.shortcut.{k}",
        "head.conv2": "head.last.0",
        "head.bn2": "head.last.1",
        "xvector.tdnn.linear": "tdnn.0",
        "xvector.tdnn.nonlinear.batchnorm": "tdnn.1",
        "xvector.block{b}.tdnnd{l}.nonlinear1.batchnorm": "blocks.{b-1}.{l-1}.inner.0",
        "xvector.block{b}.tdnnd{l}.linear1": "blocks.{b-1}.{l-1}.inner.2",
        "xvector.block{b}.tdnnd{l}.nonlinear2.batchnorm": "blocks.{b-1}.{l-1}.inner.3",
        "xvector.block{b}.tdnnd{l}.cam_layer.linear_local": "blocks.{b-1}.{l-1}.local",
        "xvector.block{b}.tdnnd{l}.cam_layer.linear1": "blocks.{b-1}.{l-1}.mask.0",
        "xvector.block{b}.tdnnd{l}.cam_layer.linear2": "blocks.{b-1}.{l-1}.mask.2",
        "xvector.transit{b}.nonlinear.batchnorm": "transitions.{b-1}.0",
        "xvector.transit{b}.linear": "transitions.{b-1}.2",
        "xvector.out_nonlinear.batchnorm": "out.0",
        "xvector.dense.linear": "embedding.0",
        "xvector.dense.nonlinear.batchnorm": "embedding.1",
        # The same two layers, in files saved after the pooling was moved out of `xvector`.
        "dense.linear": "embedding.0",
        "dense.nonlinear.batchnorm": "embedding.1",
    },
)


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; the first may halve the bins."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(_HEAD, _HEAD, 3, (step, 1), 1, bias=False) for step in (stride, 1)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(_HEAD) for _ in range(2))
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(_HEAD, _HEAD, 1, (stride, 1), bias=False), nn.BatchNorm2d(_HEAD)
            )

    def forward(self, x: Tensor) -> Tensor:
        h = functional.relu(self.norms[0](self.convs[0](x)))
        h = self.norms[1](self.convs[1](h))
        return functional.relu(h + self.shortcut(x))


class _Head(nn.Module):
    """Convolutions over bins and time: 80 bins become 32 channels of 10."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(1, _HEAD, 3, 1, 1, bias=False), nn.BatchNorm2d(_HEAD), nn.ReLU()
        )
        self.stages = nn.ModuleList(
            nn.Sequential(_ResidualBlock(2), _ResidualBlock(1)) for _ in range(2)
        )
        self.last = nn.Sequential(
            nn.Conv2d(_HEAD, _HEAD, 3, (2, 1), 1, bias=False), nn.BatchNorm2d(_HEAD), nn.ReLU()
        )

    def forward(self, features: Tensor) -> Tensor:
        """``[B, T, 80]`` to ``[B, 320, T]``."""
        h = self.first(features.transpose(1, 2)[:, None])
        for stage in self.stages:
            h = stage(h)
        flat: Tensor = self.last(h).flatten(1, 2)
        return flat


class _DenseLayer(nn.Module):
    """Adds 32 channels, each weighted by a mask that knows the frame's context."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Conv1d(channels, _WIDTH, 1, bias=False),
            nn.BatchNorm1d(_WIDTH),
            nn.ReLU(),
        )
        self.local = nn.Conv1d(_WIDTH, _GROWTH, 3, padding=dilation, dilation=dilation, bias=False)
        self.mask = nn.Sequential(
            nn.Conv1d(_WIDTH, _WIDTH // 2, 1),
            nn.ReLU(),
            nn.Conv1d(_WIDTH // 2, _GROWTH, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(x)
        context = h.mean(dim=2, keepdim=True) + _segment_means(h)
        return torch.cat([x, self.local(h) * self.mask(context)], dim=1)


class CampPlus(nn.Module):
    """The network; made by :func:`load_campplus`, or without weights for tests."""

    def __init__(self) -> None:
        super().__init__()
        self.head = _Head()
        channels = _HEAD * BINS // 8
        self.tdnn = nn.Sequential(
            nn.Conv1d(channels, _WIDTH, 5, 2, 2, bias=False), nn.BatchNorm1d(_WIDTH), nn.ReLU()
        )
        self.blocks = nn.ModuleList()
        self.transitions = nn.ModuleList()
        channels = _WIDTH
        for layers, dilation in _BLOCKS:
            self.blocks.append(
                nn.Sequential(
                    *(_DenseLayer(channels + k * _GROWTH, dilation) for k in range(layers))
                )
            )
            channels += layers * _GROWTH
            self.transitions.append(
                nn.Sequential(
                    nn.BatchNorm1d(channels),
                    nn.ReLU(),
                    nn.Conv1d(channels, channels // 2, 1, bias=False),
                )
            )
            channels //= 2
        self.out = nn.Sequential(nn.BatchNorm1d(channels), nn.ReLU())
        self.embedding = nn.Sequential(
            nn.Conv1d(2 * channels, EMBEDDING, 1, bias=False),
            nn.BatchNorm1d(EMBEDDING, affine=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Speaker embeddings of filterbank frames whose mean over time is zero.

        Args:
            features: ``[B, T, 80]``, T at least 3.

        Returns:
            ``[B, 192]``, not normalised in length.
        """
        h = self.tdnn(self.head(features))
        for block, transition in zip(self.blocks, self.transitions, strict=True):
            h = transition(block(h))
        h = self.out(h)
        statistics = torch.cat([h.mean(dim=2), h.std(dim=2)], dim=1)
        embedding: Tensor = self.embedding(statistics[:, :, None])
        return embedding[:, :, 0]

    @torch.no_grad()
    def embed(self, audio: Tensor) -> Tensor:
        """Speaker embedding of one clip.

        Args:
            audio: ``[samples]`` at 16 kHz in [-1, 1]; a second or more says much, 45 ms is least.

        Returns:
            ``[192]``, not normalised in length.

        Raises:
            ValueError: Not one clip, or a shorter one.
        """
        if audio.ndim != 1 or audio.shape[0] < MIN_SAMPLES:
            raise ValueError(
                f"expected [samples] with at least {MIN_SAMPLES} samples, got {list(audio.shape)}"
            )
        features = kaldi_fbank(audio)
        embedding: Tensor = self((features - features.mean(dim=0))[None])[0]
        return embedding


def load_campplus(path: Path) -> CampPlus:
    """Load CAM++ for inference, in float32 on the CPU, whatever float type the file is kept in.

    Args:
        path: The published ``campplus_cn_common.bin``, or its tensors as safetensors.

    Raises:
        CheckpointError: Not readable, or not CAM++.
    """
    network = CampPlus()
    left_over = load_published(network, read_checkpoint(path), TABLE)
    if left_over:
        logger.warning("{}: entries that are not used: {}", path, ", ".join(left_over))
    return network.eval()


def _segment_means(h: Tensor) -> Tensor:
    """Replace each frame by the mean of its segment of 100 frames, the last one perhaps shorter."""
    means = functional.avg_pool1d(h, _SEGMENT, _SEGMENT, ceil_mode=True)
    return means.repeat_interleave(_SEGMENT, dim=2)[:, :, : h.shape[2]]
