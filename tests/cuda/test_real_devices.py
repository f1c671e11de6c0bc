"""On true CUDA devices, all that there are: ``pytest -m cuda``, where a skip is a failure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fast_vc_service.audio.files import audio_info, read_audio
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, FloatArray, Voice
from fast_vc_service.engine.build import build_engine
from fast_vc_service.engine.families import build_converter, family_of, first_device
from fast_vc_service.engine.files import convert_blocks
from fast_vc_service.engine.stream import convert_offline

pytestmark = pytest.mark.cuda

WAVS = Path(__file__).parents[2] / "wavs"
SOURCE = WAVS / "sources" / "british-male-16k.wav"


def devices() -> str:
    return ",".join(f"cuda:{index}" for index in range(torch.cuda.device_count()))


@pytest.fixture(scope="module")
def here() -> Converter:
    return build_converter("nano")


@pytest.fixture(scope="module")
def voice(here: Converter) -> Voice:
    audio, rate = read_audio(WAVS / "references" / "alto.wav")
    return here.make_voice("alto", audio[: 3 * rate], rate)


def speech(seconds: float) -> FloatArray:
    audio, _ = read_audio(SOURCE)
    return audio[: round(seconds * SAMPLE_RATE_IN)]


def test_nano_gives_what_the_cpu_gives(here: Converter, voice: Voice) -> None:
    rate = SAMPLE_RATE_IN
    wanted = convert_offline(here, voice, speech(3.0), rate, rate)
    for device in devices().split(","):
        there = build_converter("nano", device=device)
        made = convert_offline(there, voice, speech(3.0), rate, rate)
        assert np.abs(made - wanted).max() <= family_of("nano").tolerance


def test_scattered_sessions_of_nano_share_a_step(voice: Voice) -> None:
    there = build_converter("nano", device="cuda:0")
    states = [there.new_state(voice, seed=1) for _ in range(100)]
    block = speech(1.0)[None, : there.block]
    alone = there.step(block, [there.new_state(voice, seed=1)])
    chosen = states[::-3]
    out = there.step(np.repeat(block, len(chosen), 0), chosen)
    assert np.abs(out - alone).max() <= family_of("nano").tolerance


def test_a_voice_of_nano_is_made_on_a_device(voice: Voice) -> None:
    there = build_converter("nano", device=devices().split(",")[-1])
    audio, rate = read_audio(WAVS / "references" / "alto.wav")
    made = there.make_voice("alto", audio[: 3 * rate], rate)
    for name, wanted in voice.features.items():
        assert np.allclose(made.features[name], wanted, atol=1e-2), name


def test_every_device_carries_sessions_and_files_go_to_the_first(voice: Voice) -> None:
    engine = build_engine("nano", device=devices(), latency_ms=None, on_step=lambda *_: None)
    try:
        measured = engine.warm_up(voice)
        assert len(measured) == torch.cuda.device_count()
        for lane in engine.placement.lanes:
            assert lane.memory is not None
            assert lane.memory.sessions > 0
            out = lane.converter.step(
                speech(1.0)[None, : lane.converter.block], [lane.converter.new_state(voice)]
            )
            assert np.isfinite(out).all()
        files = build_converter("nano", device=first_device(devices()), geometry="file")
        info = audio_info(SOURCE)
        pieces = convert_blocks(files, voice, SOURCE, info, 0.0)
        assert sum(len(piece) for piece in pieces) == info.frames
    finally:
        assert engine.stop()
