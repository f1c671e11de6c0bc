"""The loop that all networks share: schedule, averaging, clipping, curves, checkpoints."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from training import checkpoint, curves
from training.paths import DEFAULT_ROOT
from training.schedule import rate_at

SAVE_EVERY = 500
PRINT_EVERY = 50
WARMUP = 200

Network = TypeVar("Network", bound=nn.Module)


def add_arguments(
    parser: argparse.ArgumentParser, *, steps: int, rate: float, segments: int
) -> None:
    """The flags every stage of training has."""
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--out", type=Path, help="default: a folder below ROOT")
    parser.add_argument("--start", type=Path, help="safetensors file to start from")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--rate", type=float, default=rate)
    parser.add_argument("--segments", type=int, default=segments, help="segments a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")


class Run:
    """One network's training in one folder; constructing it again goes on where it stopped."""

    def __init__(
        self,
        out: Path,
        network: nn.Module,
        args: argparse.Namespace,
        settings: dict[str, Any],
        name: str,
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._out, self._network, self._args = out, network, args
        self._settings, self._name = settings, name
        if args.start is not None:
            checkpoint.start_from(args.start, network)
        self._average = checkpoint.Average(network)
        self._optimiser = torch.optim.AdamW(
            network.parameters(), args.rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.step = checkpoint.restore(
            out / "checkpoint.pt", network, self._average, self._optimiser
        )
        curves.truncate(out / "curves.jsonl", self.step)

    def averaged(self, _kind: type[Network]) -> Network:
        """The network with averaged weights."""
        return cast(Network, self._average.network)

    def train(
        self, losses: Callable[[int], dict[str, Tensor]], evaluate: Callable[[], dict[str, float]]
    ) -> None:
        """Go on to the last step.

        Args:
            losses: weighted parts of the loss of a step; their sum is descended.
            evaluate: figures for the curves, at every checkpoint.
        """
        log = self._out / "curves.jsonl"
        running: dict[str, float] = {}
        started, first = time.monotonic(), self.step
        while self.step < self._args.steps:
            rate = rate_at(self.step, self._args.steps, self._args.rate, WARMUP)
            for group in self._optimiser.param_groups:
                group["lr"] = rate
            parts = losses(self.step)
            self._optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(torch.stack(list(parts.values())).sum())
            norm = torch.nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
            if not torch.isfinite(norm):
                raise FloatingPointError(f"step {self.step}: the gradient is not finite")
            self._optimiser.step()
            self.step += 1
            self._average.update(self._network, self.step)
            for name, part in parts.items():
                value = part.item()
                running[name] = running.get(name, value) * 0.98 + 0.02 * value
            if self.step % PRINT_EVERY == 0:
                pace = (self.step - first) / (time.monotonic() - started)
                record = {"step": self.step, **running, "lr": rate, "steps_per_s": pace}
                curves.append(log, record)
                print(record, flush=True)
            if self.step % SAVE_EVERY == 0 or self.step == self._args.steps:
                self._save(evaluate(), log)

    def _save(self, figures: dict[str, float], log: Path) -> None:
        checkpoint.save(
            self._out / "checkpoint.pt", self.step, self._network, self._average, self._optimiser
        )
        checkpoint.export(
            self._out / f"{self._name}.safetensors", self._average.network, self._settings
        )
        record = {"step": self.step, **figures}
        curves.append(log, record)
        curves.draw(log)
        print(record, flush=True)
