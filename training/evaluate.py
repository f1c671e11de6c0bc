"""``python -m training.evaluate``: how good conversions are, on people nobody trained on.

    python -m training.evaluate --root DIR --system unconverted --system world
    python -m training.evaluate --root DIR --system nano:live --pairs 16        # a quick look
    python -m training.evaluate --root DIR --system some.module:function        # anything else
    python -m training.evaluate --root DIR --set development --system MODULE:FUNCTION

Outputs and what was heard in them are kept in ``DIR/SET/SYSTEM/FINGERPRINT``: run it again
to go on. Another code or other weights are another fingerprint.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.evaluation import clips, report, systems
from training.evaluation.analysis import Listeners
from training.evaluation.listeners import ToolError
from training.evaluation.runner import Evaluation, MissingPairsError
from training.paths import DEFAULT_ROOT


@dataclass(frozen=True)
class Options:
    """What is asked for; see the command line."""

    root: Path
    systems: tuple[str, ...]
    pairs: int | None = None
    worker: str = "0/1"
    whisper: str | None = None
    campplus: Path | None = None
    set: str = "evaluation"


def run(options: Options) -> dict[str, Any]:
    """Measure, telling progress on stdout; returns the report.

    Raises:
        EvaluationSetError: Recordings are missing.
        MissingPairsError: Other workers have pairs left.
        ToolError: A listener is missing.
        UnknownSystemError: There is no such system.
    """
    torch.set_num_threads(1)
    tools = options.root / "tools"
    campplus = options.campplus or tools / "campplus.safetensors"
    listening = Listeners(options.whisper or str(tools / "whisper-base"), campplus)
    if not listening.has_campplus:
        print(f"{campplus}: missing, so CAM++ is not measured (--campplus FILE)")
    chosen = [each for name in options.systems for each in systems.find(name, options.root)]
    pairs = clips.pairs(clips.load(clips.DRAWS[options.set].path))[: options.pairs]
    folder = options.root / options.set
    library = clips.Library(options.root / "real")
    evaluation = Evaluation(folder, library, listening, pairs)
    worker, workers = (int(number) for number in options.worker.split("/"))
    for system in chosen:
        evaluation.run(system, worker, workers, lambda line: print(line, flush=True))
    content, everything = evaluation.summary(chosen)
    full = {**content, "scores": everything}
    (folder / "quality.json").write_text(json.dumps(_plain(full), indent=1) + "\n")
    (folder / "quality.md").write_text(report.table(content))
    report.draw(content, folder / "quality.png")
    return content


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _draw_set(root: Path, name: str, seed: int) -> None:
    draw = clips.DRAWS[name]
    chosen = clips.choose(clips.recordings(root / "real"), seed, draw)
    clips.save(chosen, draw.path)
    print(f"{draw.path}: {len(chosen)} clips, {len(clips.pairs(chosen))} pairs")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument(
        "--system",
        action="append",
        help="unconverted, ENGINE[:live|:file] or module:function; may be repeated",
    )
    parser.add_argument("--pairs", type=int, help="only the first N pairs: a quick look")
    parser.add_argument("--worker", default="0/1", help="K/N: the K-th of N processes, from 0")
    parser.add_argument("--whisper", help="folder or name of a model for faster-whisper")
    parser.add_argument("--campplus", type=Path, help="default: ROOT/tools/campplus.safetensors")
    parser.add_argument("--set", choices=sorted(clips.DRAWS), default="evaluation")
    parser.add_argument("--draw-set", type=int, metavar="SEED", help="only draw the set anew")
    args = parser.parse_args()
    if args.draw_set is not None:
        _draw_set(args.root, args.set, args.draw_set)
        return
    options = Options(
        args.root,
        tuple(args.system or ("unconverted", "world")),
        args.pairs,
        args.worker,
        args.whisper,
        args.campplus,
        args.set,
    )
    try:
        content = run(options)
    except (clips.EvaluationSetError, ToolError, systems.UnknownSystemError) as error:
        raise SystemExit(f"training.evaluate: {error}") from error
    except MissingPairsError as error:
        print(f"{error}: the worker that ends last writes the report")
        return
    print(f"\n{report.table(content)}\nwritten: {args.root / args.set}/quality.*")


if __name__ == "__main__":
    main()
