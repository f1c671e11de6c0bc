"""How much units tell of phones: phone-normalised mutual information (Hsu et al. 2021, HuBERT).

Phones come from pocketsphinx's forced alignment of LibriSpeech.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

UTTERANCES, SPEAKERS = 90, 25
NONE = -1
SAMPLE_RATE_HZ = 16_000
SHORTEST_S = 3.0


def phone_information(phones: NDArray[np.int64], units: NDArray[np.int64]) -> float:
    """Mutual information of phones and units over the entropy of the phones.

    Args:
        phones: [frames], NONE where unknown.
        units: [frames].
    """
    known = phones != NONE
    joint = np.zeros((phones.max() + 1, units.max() + 1))
    np.add.at(joint, (phones[known], units[known]), 1.0)
    joint /= joint.sum()
    of_phone, of_unit = joint.sum(1), joint.sum(0)
    there = joint > 0
    independent = np.outer(of_phone, of_unit)
    information = float((joint[there] * np.log(joint[there] / independent[there])).sum())
    entropy = float(-(of_phone[of_phone > 0] * np.log(of_phone[of_phone > 0])).sum())
    return information / entropy


def utterances(folder: Path) -> Iterator[tuple[FloatArray, str]]:
    """Speech [samples] at 16 kHz and its words; the shortest of SPEAKERS readers of LibriSpeech.

    Args:
        folder: ``ROOT/real``.
    """
    entries = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    spoken = [
        each
        for each in sorted(entries, key=lambda each: int(each["samples"]))
        if each["text"]
        and each["speaker"].startswith("libri-")
        and each["samples"] >= SHORTEST_S * SAMPLE_RATE_HZ
    ]
    speakers = sorted({each["speaker"] for each in spoken})[:SPEAKERS]
    per_speaker = -(-UTTERANCES // max(1, len(speakers)))
    chosen = [
        each
        for speaker in speakers
        for each in [entry for entry in spoken if entry["speaker"] == speaker][:per_speaker]
    ]
    for entry in chosen[:UTTERANCES]:
        speech, _ = soundfile.read(folder / entry["file"], dtype="float32")
        yield speech, entry["text"]


def aligned_phones(speech: FloatArray, text: str) -> NDArray[np.int64]:
    """The phone at each 20 ms [samples / 320]; NONE where the words could not be aligned.

    Raises:
        ImportError: pocketsphinx is not installed (``training/requirements.txt``).
    """
    from pocketsphinx import Decoder

    labels = np.full(len(speech) // (SAMPLE_RATE_HZ // 50), NONE, np.int64)
    decoder = Decoder(lm=None, loglevel="FATAL")
    sound = (np.clip(speech, -1, 1) * 32767).astype("<i2").tobytes()
    words = re.sub(r"[^a-z' ]", " ", text.lower()).split()
    try:
        decoder.set_align_text(" ".join(words))
        _decode(decoder, sound)
        decoder.set_alignment()
        _decode(decoder, sound)
        alignment = decoder.get_alignment()
    except RuntimeError:  # a word that is not in its dictionary, or no path through the words
        return labels
    track = np.full(2 * len(labels), NONE, np.int64)
    for phone in alignment.phones():
        track[phone.start : phone.start + phone.duration] = _number(phone.name)
    labels[:] = track[0::2]
    return labels


def _decode(decoder: object, sound: bytes) -> None:
    decoder.start_utt()  # type: ignore[attr-defined]
    decoder.process_raw(sound, no_search=False, full_utt=True)  # type: ignore[attr-defined]
    decoder.end_utt()  # type: ignore[attr-defined]


_NAMES: dict[str, int] = {}


def _number(name: str) -> int:
    return _NAMES.setdefault(name, len(_NAMES))
