"""Files: what the engine makes reaches them in full band."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fast_vc_service.audio.files import audio_info, read_audio
from fast_vc_service.contract import FloatArray
from fast_vc_service.engine.families import build_converter
from fast_vc_service.engine.files import convert_blocks
from fast_vc_service.engine.stream import convert_offline

WAVS = Path(__file__).parents[2] / "wavs"
BAND_HZ = (8_000, 11_000)


def band_db(audio: FloatArray, rate: int) -> float:
    power = np.abs(np.fft.rfft(audio.astype(np.float64))) ** 2
    hz = np.fft.rfftfreq(len(audio), 1 / rate)
    inside = (hz >= BAND_HZ[0]) & (hz < BAND_HZ[1])
    return float(10 * np.log10(power[inside].sum() / len(audio) ** 2 + 1e-20))


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_a_file_holds_every_band_that_the_engine_fills(tmp_path: Path, rate: int) -> None:
    speech, own = read_audio(WAVS / "sources" / "low-pitched-male-24k.wav")
    speech = speech[own : 4 * own]
    source = tmp_path / "source.wav"
    soundfile.write(source, np.repeat(speech, rate // own), rate)
    reference, reference_rate = read_audio(WAVS / "references" / "soprano.wav")
    live = build_converter("nano")
    voice = live.make_voice("soprano", reference[: 5 * reference_rate], reference_rate)
    offline = build_converter("nano", geometry="file")
    file = np.concatenate(list(convert_blocks(offline, voice, source, audio_info(source), 0.0)))
    heard, _ = read_audio(source)
    at_the_socket = convert_offline(live, voice, heard, rate, 24_000)
    assert band_db(file, rate) == pytest.approx(band_db(at_the_socket, 24_000), abs=6.0)
    assert band_db(file, rate) > -80
