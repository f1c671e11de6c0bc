"""``python -m training``: all stages at once.

python -m training all --root DIR             # everything, from where it stopped
python -m training all --root DIR --core      # the core set, remade within an hour
python -m training left --root DIR            # what is still to do
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from training.paths import DEFAULT_ROOT
from training.stages import Plan, stages


def _print_left(plan: Plan) -> None:
    for stage in stages(plan):
        print(f"{stage.name}: {stage.left() or 'done'}", flush=True)


def run(plan: Plan, data_only: bool = False) -> None:
    """Run every stage of which something is left.

    Raises:
        SystemExit: A stage failed; run it again to go on.
    """
    _print_left(plan)
    names = [stage.name for stage in stages(plan)]
    for name in names[: names.index("pitch tracker")] if data_only else names:
        # Anew each time: what a stage starts from may have been made by the one before.
        stage = next(stage for stage in stages(plan) if stage.name == name)
        left = stage.left()
        if not left:
            continue
        print(f"== {name}: {left} left", flush=True)
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-m", *stage.command], check=False)
        if done.returncode != 0:
            raise SystemExit(f"training: {name} failed ({done.returncode}); run it again to go on")
        print(f"== {name}: {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    print("then: python -m training.ship --root", plan.root)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["all", "data", "left"], help="data: all but the trainings")
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--core", action="store_true", help="only the core set")
    parser.add_argument("--mirrors", type=Path, help="git directories OWNER+NAME/repo")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--content-steps", type=int, default=Plan.content_steps)
    parser.add_argument("--acoustic-steps", type=int, default=Plan.acoustic_steps)
    args = parser.parse_args()
    plan = Plan(
        args.root,
        args.core,
        args.mirrors,
        args.device,
        args.content_steps,
        args.acoustic_steps,
    )
    if args.what == "left":
        _print_left(plan)
    else:
        run(plan, data_only=args.what == "data")


if __name__ == "__main__":
    main()
