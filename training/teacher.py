"""``python -m training.teacher``: the teacher's features of all clean speech, computed once.

For each shard of ``features/KIND`` a file of the same name in ``teacher/KIND`` with ``projected``
[targets, 96] float16, a row for each 20 ms of clean speech. Before anything is learned from them,
the phone-normalised mutual information of their units is printed; below PNMI_LEAST it ends here,
since a bad layer of the teacher costs everything.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray

from training.packed_speech import up_to_date
from training.paths import DEFAULT_ROOT
from training.phone_information import aligned_phones, phone_information, utterances
from training.precision import half_precision
from training.units import Units
from training.whisper import SAMPLE_RATE_HZ, TeacherError, WhisperEncoder, listen, load_encoder

TARGET_HZ = 24_000
TARGET_FRAME_SAMPLES = 480
PNMI_LEAST = 0.65


def targets_of(
    views: NDArray[np.int64], audio: NDArray[np.int16], encoder: WhisperEncoder, units: Units
) -> NDArray[np.float16]:
    """Projected features [targets, 96] of a shard's clean speech; zeros after the longest clip.

    Args:
        views: rows of (clip, first frame, frames, degraded, first frame of the target).
        audio: [480 * targets] at 24 kHz.
        encoder: the teacher.
        units: its projection.
    """
    projected = np.zeros((len(audio) // TARGET_FRAME_SAMPLES, units.projection.shape[1]), "f2")
    for _clip, _first, frames, degraded, target in views.tolist():
        if degraded:
            continue
        cut = slice(TARGET_FRAME_SAMPLES * target, TARGET_FRAME_SAMPLES * (target + frames))
        speech = soxr.resample(audio[cut].astype(np.float32) / 32767, TARGET_HZ, SAMPLE_RATE_HZ)
        with half_precision(encoder.positions.device):
            heard = listen(encoder, speech.astype(np.float32))
        found = units.project(heard.float().cpu()).numpy()
        projected[target : target + len(found)] = found.astype(np.float16)
    return projected


def measure(root: Path, encoder: WhisperEncoder, units: Units) -> float:
    """PNMI of the units over recordings with known words.

    Raises:
        TeacherError: There are too few of them.
    """
    phones, found = [], []
    for speech, text in utterances(root / "real"):
        labels = aligned_phones(speech, text)
        with half_precision(encoder.positions.device):
            heard = listen(encoder, speech)
        nearest = units.nearest(units.project(heard.float().cpu())).numpy()
        frames = min(len(labels), len(nearest))
        phones.append(labels[:frames])
        found.append(nearest[:frames])
    if not phones:
        raise TeacherError(
            f"{root}: no recordings with words to measure the units by; "
            "run `python -m training.data real`"
        )
    return phone_information(np.concatenate(phones), np.concatenate(found))


def check(root: Path, encoder: WhisperEncoder, units: Units) -> None:
    """Print the PNMI; it is measured once.

    Raises:
        TeacherError: It is below PNMI_LEAST.
    """
    path = root / "teacher" / "pnmi.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"layer": units.layer, "pnmi": measure(root, encoder, units)}))
    pnmi = json.loads(path.read_text())["pnmi"]
    print(f"layer {units.layer} of the teacher: PNMI {pnmi:.3f}", flush=True)
    if pnmi < PNMI_LEAST:
        raise TeacherError(
            f"PNMI {pnmi:.3f} is below {PNMI_LEAST}: content learned from these units would be "
            f"wrong; check the units and the layer, then delete {path}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.teacher", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    units = Units.load()
    try:
        encoder = load_encoder(args.root / "tools/whisper-base/model.bin", units.layer)
        encoder = encoder.to(args.device)
        check(args.root, encoder, units)
    except TeacherError as error:
        raise SystemExit(f"training.teacher: {error}") from error
    for kind in ("real", "synthetic"):
        for path in sorted((args.root / "features" / kind).glob("shard-*.npz")):
            out = args.root / "teacher" / kind / path.name
            if up_to_date(out, path) or ".partial" in path.name:
                continue
            started = time.monotonic()
            with np.load(path) as stored:
                projected = targets_of(stored["views"], stored["audio"], encoder, units)
            out.parent.mkdir(parents=True, exist_ok=True)
            partial = out.with_suffix(".partial.npz")
            np.savez(partial, projected=projected)
            partial.replace(out)
            seconds = 0.02 * len(projected)
            print(f"{kind}/{path.name}: {seconds:.0f} s in {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
