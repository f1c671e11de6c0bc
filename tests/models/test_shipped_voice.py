"""The shipped weights on two recorded pairs: the target's voice, the source's words.

The judge of voices is CAM++; that of words is how far the content of the output is from that of
the source, against the content of other words. Each bound is one that a broken file fails.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray
from fast_vc_service.engine.stream import convert_offline
from fast_vc_service.models.nano.acoustic import Acoustic
from fast_vc_service.models.nano.content import ContentEncoder
from fast_vc_service.models.nano.converter import NanoConverter
from fast_vc_service.models.nano.load import WEIGHTS, Networks, load_networks
from fast_vc_service.models.nano.spectrum import log_mel

WAVS = Path(__file__).parents[2] / "wavs"
PAIRS = (
    ("sources/male-fast-48k.wav", "references/soprano.wav"),
    ("sources/female-narration-44k1.wav", "references/bass.wav"),
)
LONGEST_S = 6
OTHER_WORDS_FRAMES = 60
"""20 ms frames by which content is shifted to be that of other words."""

LEAST_MARGIN = 0.05
MOST_OF_OTHER_WORDS = 0.62


@cache
def shipped() -> Networks:
    return load_networks(WEIGHTS, torch.device("cpu"))


@cache
def speech(name: str) -> FloatArray:
    samples, rate = read_audio(WAVS / name)
    return resample(samples[: LONGEST_S * rate], rate, SAMPLE_RATE_IN).astype(np.float32)


def said(networks: Networks, source: FloatArray, reference: FloatArray) -> FloatArray:
    converter = NanoConverter(networks)
    voice = converter.make_voice("target", reference, SAMPLE_RATE_IN)
    return convert_offline(converter, voice, source, SAMPLE_RATE_IN, SAMPLE_RATE_IN)


def likeness(one: FloatArray, other: FloatArray) -> float:
    """Cosine of the speaker embeddings."""
    embeddings = [shipped().campplus.embed(torch.from_numpy(each)) for each in (one, other)]
    return float(torch.nn.functional.cosine_similarity(*embeddings, dim=0))


@torch.no_grad()
def content(samples: FloatArray) -> torch.Tensor:
    """[T, content] of what is said, with the shipped encoder."""
    mel, _ = log_mel(torch.from_numpy(samples)[None])
    return shipped().content(mel[:, : mel.shape[1] // 2 * 2]).bottleneck[0]


def other_words(output: FloatArray, source: FloatArray) -> float:
    """Distance of the contents, relative to that of other words: 0 the same, 1 anything."""
    made, wanted = content(output), content(source)
    apart = (made - wanted).square().mean()
    shifted = (made - wanted.roll(OTHER_WORDS_FRAMES, 0)).square().mean()
    return float(apart / shifted)


def judged(networks: Networks, source: str, reference: str) -> tuple[float, float]:
    """How much more the output is like the target than like the source, and its other words."""
    output = said(networks, speech(source), speech(reference))
    margin = likeness(output, speech(reference)) - likeness(output, speech(source))
    return margin, other_words(output, speech(source))


@pytest.mark.parametrize(("source", "reference"), PAIRS)
def test_the_voice_is_the_target_s_and_the_words_are_the_source_s(
    source: str, reference: str
) -> None:
    margin, words = judged(shipped(), source, reference)
    assert margin > LEAST_MARGIN
    assert words < MOST_OF_OTHER_WORDS


def broken(part: str) -> Networks:
    networks = shipped()
    torch.manual_seed(0)
    if part == "content":
        return replace(networks, content=ContentEncoder(networks.content.config).eval())
    fresh = Acoustic(networks.acoustic.config).eval()
    return replace(networks, acoustic=fresh)


@pytest.mark.parametrize("part", ["content", "acoustic"])
def test_a_broken_file_fails(part: str) -> None:
    margin, words = judged(broken(part), *PAIRS[0])
    assert margin <= LEAST_MARGIN or words >= MOST_OF_OTHER_WORDS
