"""``python -m training.data STAGE``: see ``training/README.md``."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from training.data import corpus, fetch, real
from training.data.kokoro import Kokoro
from training.data.phonemes import LANGUAGES
from training.data.render import Planner, run
from training.data.tree import TreeError
from training.data.voices import VoiceBank
from training.paths import DEFAULT_ROOT


def _render(args: argparse.Namespace) -> None:
    root: Path = args.root
    out: Path = args.out or root / "synthetic"
    out.mkdir(parents=True, exist_ok=True)
    kokoro = Kokoro(root / "kokoro", args.threads, args.torch)
    bank = VoiceBank.load(root / "kokoro" / "voices")
    train, held_out = bank.split(args.seed)
    header = {"seed": args.seed, "styles": args.styles, "train_voices": train}
    header |= {"eval_voices": held_out, "corpus": str(root / "text" / "corpus.jsonl")}
    settings = out / "settings.json"
    if not settings.is_file():
        partial = out / f"settings-{os.getpid()}.partial"
        partial.write_text(json.dumps(header, indent=1))
        partial.replace(settings)
    if json.loads(settings.read_text()) != header:
        raise SystemExit(f"{settings} says other settings: use them, or another --out")
    planner = Planner(corpus.load(root / "text" / "corpus.jsonl"), bank, args.seed, args.styles)
    worker, workers = (int(number) for number in args.worker.split("/"))
    run(planner, kokoro, bank, out, args.hours, worker=worker, workers=workers)


def _text(args: argparse.Namespace) -> None:
    root: Path = args.root
    path = root / "text" / "corpus.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    vocabulary = Kokoro(root / "kokoro").vocabulary
    sentences = corpus.build(root / "text" / "share", vocabulary, LANGUAGES, args.limit, args.seed)
    print(corpus.save(sentences, path))


def _real(args: argparse.Namespace) -> None:
    uses = tuple(args.use or ("train", "encode", "eval"))
    try:
        real.run(args.root, args.mirrors, core=args.core, uses=uses)
    except (TreeError, real.DecodeError) as error:
        raise SystemExit(f"training.data: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training.data", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="folder of all stages")
    parser.add_argument("--seed", type=int, default=1)
    stages = parser.add_subparsers(required=True)
    stage = stages.add_parser("fetch", help="download the generator, its voices and the texts")
    stage.set_defaults(run=lambda args: fetch.generator(args.root))
    stage = stages.add_parser("text", help="build the corpus of sentences")
    stage.add_argument("--limit", type=int, default=2500, help="sentences a language")
    stage.set_defaults(run=_text)
    stage = stages.add_parser("render", help="render parallel speech; resumes where it stopped")
    stage.add_argument("--hours", type=float, required=True, help="hours of speech, all speakers")
    stage.add_argument("--out", type=Path, help="default: ROOT/synthetic")
    stage.add_argument("--styles", type=int, default=2, help="speakers an utterance")
    stage.add_argument("--worker", default="0/1", help="K/N: the K-th of N processes, from 0")
    stage.add_argument("--threads", type=int, default=1)
    stage.add_argument(
        "--torch",
        metavar="DEVICE",
        help="decode with torch in bfloat16 there: faster on CUDA, and on a CPU with AVX-512 bf16",
    )
    stage.set_defaults(run=_render)
    stage = stages.add_parser("real", help="fetch and decode recorded speech")
    stage.add_argument(
        "--mirrors", type=Path, help="git directories OWNER+NAME/repo, where there is no network"
    )
    stage.add_argument("--core", action="store_true", help="only the core set, remade in an hour")
    stage.add_argument("--use", action="append", choices=["train", "encode", "eval"])
    stage.set_defaults(run=_real)
    stage = stages.add_parser("tools", help="fetch what training.evaluate listens with")
    stage.add_argument("--campplus", type=Path, help="safetensors of CAM++, to be copied")
    stage.set_defaults(run=lambda args: fetch.evaluation_tools(args.root, args.campplus))
    return parser


def main() -> None:
    """Run one stage."""
    args = _parser().parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
