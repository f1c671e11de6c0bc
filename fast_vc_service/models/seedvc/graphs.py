"""The sampler as CUDA graphs: thousands of kernel launches become one."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from fast_vc_service.models.seedvc.dit_layers import Conditioning
from fast_vc_service.models.seedvc.sampler import Sampler


class GraphedSampler:
    """Records ``sampler`` once a shape and replays it from then on.

    A recording keeps inputs and output in memory of its own, so there is one for each power of two
    of rows alone, and what a batch does not fill runs idle. One thread uses it at a time: a model
    thread that was given up may come back in the middle of a step.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._recordings: dict[tuple[int, ...], _Recording] = {}
        self._in_use = threading.Lock()

    def __call__(self, noise: Tensor, condition: Conditioning) -> Tensor:
        """See :meth:`Sampler.__call__`; the arguments are CUDA tensors."""
        rows = 1 << (len(noise) - 1).bit_length()
        shape = (rows, *noise.shape[1:], condition.frames.shape[1])
        with self._in_use:
            recording = self._recordings.get(shape)
            if recording is None:
                recording = _Recording(self._sampler, rows, noise, condition)
                self._recordings[shape] = recording
            return recording.replay(noise, condition)


class _Recording:
    def __init__(self, sampler: Sampler, rows: int, noise: Tensor, condition: Conditioning) -> None:
        self._noise = _idle(noise, rows)
        self._frames = _idle(condition.frames, rows)
        self._style = None if condition.style is None else _idle(condition.style, rows)
        own = Conditioning(self._frames, self._style)
        # Libraries choose their algorithms at first use, which may not be recorded.
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(2):
                sampler(self._noise, own)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # Voices may be made in another thread meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._mel = sampler(self._noise, own)

    def replay(self, noise: Tensor, condition: Conditioning) -> Tensor:
        rows = len(noise)
        self._noise[:rows].copy_(noise)
        self._frames[:rows].copy_(condition.frames)
        if self._style is not None and condition.style is not None:
            self._style[:rows].copy_(condition.style)
        self._graph.replay()
        return self._mel[:rows].clone()


def _idle(like: Tensor, rows: int) -> Tensor:
    return like.new_zeros(rows, *like.shape[1:])
