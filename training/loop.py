"""The loop that all networks share: schedule, averaging, clipping, curves, checkpoints."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from training import checkpoint, curves
from training.paths import DEFAULT_ROOT
from training.schedule import rate_at

SAVE_EVERY = 250
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
    parser.add_argument("--pause-file", type=Path, help="stand still while this file exists")


class Run:
    """One network's training in one folder; constructing it again goes on where it stopped."""

    def __init__(
        self,
        out: Path,
        network: nn.Module,
        args: argparse.Namespace,
        *,
        exports: Mapping[str, Mapping[str, Any]],
        beside: Mapping[str, checkpoint.Stateful] | None = None,
    ) -> None:
        """Open the folder ``out``.

        Args:
            out: where checkpoints, curves and the averaged weights ``NAME.safetensors`` go.
            network: what is trained; networks by name where several are.
            args: of :func:`add_arguments`; ``start`` is for the first of the exports.
            exports: by the name of each exported file, what it says of itself.
            beside: what else changes and belongs into the checkpoint.
        """
        out.mkdir(parents=True, exist_ok=True)
        self._out, self._network, self._args = out, network, args
        self._exports = exports
        if args.start is not None:
            first = next(iter(exports))
            checkpoint.start_from(args.start, self._part(network, first))
        self._average = checkpoint.Average(network)
        self._optimiser = torch.optim.AdamW(
            network.parameters(), args.rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self._parts: dict[str, checkpoint.Stateful] = {
            "network": network,
            "average": self._average.network,
            "optimiser": self._optimiser,
            **(beside or {}),
        }
        device = next(network.parameters()).device
        self.step = checkpoint.restore(out / "checkpoint.pt", self._parts, device)
        curves.truncate(out / "curves.jsonl", self.step)

    @staticmethod
    def _part(network: nn.Module, name: str) -> nn.Module:
        return network[name] if isinstance(network, nn.ModuleDict) else network

    def averaged(self, name: str, _kind: type[Network]) -> Network:
        """The network that is exported as ``name``, with averaged weights."""
        return cast(Network, self._part(self._average.network, name))

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
            self._wait_while_asked_to()
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

    def _wait_while_asked_to(self) -> None:
        """Stand still while the file ``--pause-file`` exists: somebody measures."""
        path: Path | None = self._args.pause_file
        while path is not None and path.exists():
            time.sleep(1.0)

    def _save(self, figures: dict[str, float], log: Path) -> None:
        checkpoint.save(self._out / "checkpoint.pt", self.step, self._parts)
        for name, settings in self._exports.items():
            averaged = self._part(self._average.network, name)
            checkpoint.export(self._out / f"{name}.safetensors", averaged, settings)
        record = {"step": self.step, **figures}
        curves.append(log, record)
        curves.draw(log)
        print(record, flush=True)
