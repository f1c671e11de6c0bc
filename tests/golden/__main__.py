"""``python -m tests.golden DIR``: run every golden vector file found in DIR.

Prints the array, its largest error and its tolerance a line; exits 1 if any is out of tolerance or
a file has no check.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from tests.golden.checks import CHECKS, read


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("folder", type=Path, help="holds *.npz, named as those in tests/data")
    folder: Path = parser.parse_args().folder
    files = sorted(folder.glob("*.npz"))
    if not files:
        print(f"no *.npz in {folder}", file=sys.stderr)
        return 1
    failed = 0
    for path in files:
        print(path.stem)
        check = CHECKS.get(path.stem)
        if check is None:
            failed += 1
            print("  FAILED  no check for a file of this name")
            continue
        vectors, seen = read(path), set()
        with torch.no_grad():
            for result in check(vectors, folder):
                failed += not result.passed
                seen.add(result.name)
                verdict = "ok    " if result.passed else "FAILED"
                print(
                    f"  {verdict}  {result.name:<40} error {result.error:.2e}"
                    f"  tolerance {result.tolerance:.0e}"
                )
        if path.stem == "campplus" and "real_weights_embedding" not in seen:
            print("  left out  real_weights_*: no campplus_cn_common.* here or in checkpoints/")
    print(f"{failed} failed" if failed else "all within tolerance")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
