"""The world family through the window that makes a stream of it."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import Converter, FloatArray, Voice
from fast_vc_service.engine.families import build_converter
from fast_vc_service.models.world.analysis import analyse
from fast_vc_service.models.world.model import KEPT_BEFORE, WorldMemory, WorldModel
from fast_vc_service.models.world.timbre import band_spectra
from fast_vc_service.models.world.voice import Target

WAVS = Path(__file__).parents[2] / "wavs"
WINDOW, BLOCK, LOOK_AHEAD, CROSSFADE = 7680, 3200, 640, 320
"""Samples at 16 kHz: 480, 200, 40 and 20 ms."""

SILENCE = 1e-3  # -60 dBFS


def speech(name: str, seconds: float = 4.0) -> FloatArray:
    audio, rate = read_audio(WAVS / "sources" / f"{name}.wav")
    return resample(audio, rate, 16_000)[: int(seconds * 16_000)]


def make_voice(name: str) -> Voice:
    audio, rate = read_audio(WAVS / "references" / f"{name}.wav")
    return WorldModel().make_voice(name, audio, rate)


@pytest.fixture(scope="module")
def bass() -> Voice:
    return make_voice("bass")


@pytest.fixture(scope="module")
def soprano() -> Voice:
    return make_voice("soprano")


@pytest.fixture(scope="module")
def male() -> FloatArray:
    return speech("british-male-16k")


def converter() -> Converter:
    return build_converter("world")


def convert(
    audio: FloatArray,
    voice: Voice,
    *,
    pitch_shift: float = 0.0,
    seed: int = 0,
    memory: WorldMemory | None = None,
) -> FloatArray:
    """Convert ``[samples]``, aligned; ``memory`` replaces the fresh one."""
    streaming = converter()
    state = streaming.new_state(voice, pitch_shift, seed)
    if memory is not None:
        state.memory = memory
    count = -(-(len(audio) + streaming.delay) // BLOCK)
    padded = np.pad(audio, (0, count * BLOCK - len(audio)))
    out = [streaming.step(block[None], [state])[0] for block in padded.reshape(count, BLOCK)]
    return np.concatenate(out)[streaming.delay :][: len(audio)]


def acquainted(audio: FloatArray, voice: Voice) -> WorldMemory:
    """Return the memory of a session that has heard the speaker for long."""
    streaming = converter()
    state = streaming.new_state(voice)
    looped = np.tile(audio, 30 * 16_000 // len(audio))
    for block in looped[: len(looped) // BLOCK * BLOCK].reshape(-1, BLOCK):
        streaming.step(block[None], [state])
        if state.memory.register.frozen:
            break
    return replace(state.memory, heard=-1)


def semitones_off(audio: FloatArray, voice: Voice) -> float:
    f0_hz = analyse(audio).f0_hz
    median = float(np.median(np.log(f0_hz[f0_hz > 0])))
    return 12 / math.log(2) * (median - Target.of(voice).median_log_f0)


def decibels(audio: FloatArray) -> float:
    return float(10 * np.log10(np.mean(audio.astype(np.float64) ** 2) + 1e-20))


# What it converts


@pytest.mark.slow
@pytest.mark.parametrize("source", ["british-male-16k", "high-pitched-female-24k"])
@pytest.mark.parametrize("target", ["bass", "soprano"])
def test_a_known_speaker_lands_in_the_targets_register_and_spectrum(
    source: str, target: str
) -> None:
    voice, audio = make_voice(target), speech(source, 30.0)
    out = convert(audio, voice, memory=acquainted(audio, voice))
    assert abs(semitones_off(out, voice)) < 1.0

    def distance(heard: FloatArray) -> float:
        frames = analyse(heard)
        spectrum = band_spectra(np.log(frames.envelope[frames.f0_hz > 0])).mean(axis=0)
        return float(np.sqrt(np.mean((spectrum - Target.of(voice).spectrum) ** 2)))

    assert distance(out) < 0.6 * distance(audio)


def test_pitch_moves_towards_the_target_from_the_first_second(
    male: FloatArray, soprano: Voice
) -> None:
    out = convert(male, soprano)
    before, after = semitones_off(male, soprano), semitones_off(out, soprano)
    assert before < -9
    assert abs(after) < 2.0


def test_pitch_shift_comes_on_top(male: FloatArray, bass: Voice) -> None:
    plain, raised = convert(male, bass), convert(male, bass, pitch_shift=5.0)
    assert semitones_off(raised, bass) - semitones_off(plain, bass) == pytest.approx(5.0, abs=0.7)


def test_level_follows_the_source(male: FloatArray, soprano: Voice) -> None:
    out = convert(male, soprano)
    assert decibels(out) == pytest.approx(decibels(male), abs=1.5)
    parts = male[:64_000].reshape(-1, 3_200), out[:64_000].reshape(-1, 3_200)
    differences = [
        decibels(theirs) - decibels(own)
        for own, theirs in zip(*parts, strict=True)
        if decibels(own) > -40
    ]
    assert np.percentile(np.abs(differences), 90) < 3.0


# What it must not do


@pytest.mark.parametrize("level", [0.0, 1e-40, 3e-4])
def test_silence_stays_silence(level: float, bass: Voice, male: FloatArray) -> None:
    quiet = np.random.default_rng(0).normal(0, level, 24_000).astype(np.float32)
    out = convert(np.concatenate([quiet, male[:16_000], quiet]), bass)
    assert np.abs(out[:16_000]).max() <= SILENCE * (1 if level == 0 else 2)
    assert 10 ** (decibels(out[-16_000:]) / 20) <= SILENCE


@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
def test_noise_does_not_turn_into_speech(colour: float, soprano: Voice) -> None:
    spectrum = np.fft.rfft(np.random.default_rng(1).standard_normal(32_000))
    shaped = np.fft.irfft(spectrum / np.maximum(np.arange(len(spectrum)), 150) ** colour)
    noise = (0.1 * shaped / shaped.std()).astype(np.float32)
    assert np.mean(analyse(noise).f0_hz > 0) < 0.02
    out = convert(noise, soprano)
    assert decibels(out) < decibels(noise) + 1.0
    # No comb of harmonics: neighbouring values of a periodic signal's spectrum differ vastly.
    power = np.abs(np.fft.rfft(out[:16_000].reshape(-1, 1_600) * np.hanning(1_600))) ** 2
    band = power.mean(axis=0)[20:200]
    assert band.max() / np.median(band) < 300


def test_whisper_stays_unvoiced(male: FloatArray, soprano: Voice) -> None:
    # Each 5 ms of speech with its phases drawn anew: the envelope of speech without its voice.
    generator = np.random.default_rng(2)
    hops = np.pad(male, 160)[np.arange(0, 60_000, 80)[:, None] + np.arange(320)] * np.hanning(320)
    envelope = np.abs(np.fft.rfft(hops, 1024)) ** 2
    smooth = np.sqrt(np.apply_along_axis(np.convolve, 1, envelope, np.hanning(41), "same"))
    turned = np.fft.irfft(smooth * np.exp(2j * np.pi * generator.random(smooth.shape)))[:, :320]
    whisper = np.zeros(61_000)
    for index, piece in enumerate(turned * np.hanning(320)):
        whisper[index * 80 : index * 80 + 320] += piece
    audio = (0.3 * whisper / np.abs(whisper).max()).astype(np.float32)
    voiced_before = np.mean(analyse(audio).f0_hz > 0)
    voiced_after = np.mean(analyse(convert(audio, soprano)).f0_hz > 0)
    assert voiced_before < 0.05
    assert voiced_after < 0.1


@pytest.mark.parametrize(
    "kind", ["clipped", "constant", "nyquist", "square", "impulse", "loud noise", "low tone"]
)
def test_extreme_input_stays_finite_and_within_full_scale(
    kind: str, bass: Voice, male: FloatArray
) -> None:
    time = np.arange(16_000)
    audio = {
        "clipped": np.clip(male[:16_000] * 50, -1, 1),
        "constant": np.ones(16_000),
        "nyquist": np.cos(np.pi * time),
        "square": np.sign(np.sin(2 * np.pi * 200 * time / 16_000) + 1e-9),
        "impulse": (time == 7_000).astype(float),
        "loud noise": np.clip(np.random.default_rng(3).normal(0, 2, 16_000), -1, 1),
        "low tone": np.sin(2 * np.pi * 61 * time / 16_000),
    }[kind].astype(np.float32)
    model = WorldModel()
    window = audio[:WINDOW][None]
    for shift in (-24.0, 24.0):
        memory = model.new_memory(bass, shift, 0)
        out, memories = model.convert(window, BLOCK, LOOK_AHEAD, [memory], [0])
        out, _ = model.convert(window, BLOCK, LOOK_AHEAD, memories, [BLOCK])
        assert np.all(np.isfinite(out))
        assert np.abs(out).max() <= 1.0


# How it streams


def test_the_same_session_gives_the_same_samples_also_beside_others(
    male: FloatArray, bass: Voice, soprano: Voice
) -> None:
    audio = male[:32_000]
    alone = convert(audio, bass, seed=4)
    with ThreadPoolExecutor(2) as threads:
        jobs = [threads.submit(convert, audio, v, seed=4) for v in (bass, soprano, bass)]
        beside = [job.result() for job in jobs]
    np.testing.assert_array_equal(alone, beside[0])
    np.testing.assert_array_equal(alone, beside[2])
    assert not np.array_equal(alone, beside[1])


def test_rows_of_a_batch_do_not_meet(male: FloatArray, bass: Voice, soprano: Voice) -> None:
    model = WorldModel()
    windows = np.stack([male[8_000 : 8_000 + WINDOW], male[20_000 : 20_000 + WINDOW]])
    memories = [model.new_memory(bass, 0.0, 1), model.new_memory(soprano, 2.0, 2)]
    together, _ = model.convert(windows, BLOCK, LOOK_AHEAD, memories, [-640, 3_200])
    for row, position in enumerate((-640, 3_200)):
        alone, _ = model.convert(
            windows[row : row + 1], BLOCK, LOOK_AHEAD, [memories[row]], [position]
        )
        np.testing.assert_array_equal(alone[0], together[row])


def test_seed_chooses_the_noise_and_nothing_else(male: FloatArray, bass: Voice) -> None:
    audio = male[:24_000]
    first, second = convert(audio, bass, seed=1), convert(audio, bass, seed=2)
    assert not np.array_equal(first, second)
    assert decibels(first) == pytest.approx(decibels(second), abs=0.5)


def test_convert_changes_neither_windows_nor_memories(male: FloatArray, bass: Voice) -> None:
    model = WorldModel()
    window = male[8_000 : 8_000 + WINDOW][None].copy()
    memory = model.new_memory(bass, 0.0, 0)
    first, [after] = model.convert(window, BLOCK, LOOK_AHEAD, [memory], [0])
    again, _ = model.convert(window, BLOCK, LOOK_AHEAD, [memory], [0])
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(window[0], male[8_000 : 8_000 + WINDOW])
    assert memory.mapping is None
    assert after.heard == WINDOW - LOOK_AHEAD


def test_overlapping_windows_agree_so_that_a_cross_fade_has_nothing_to_hide(
    male: FloatArray, bass: Voice
) -> None:
    model = WorldModel()
    memory = model.new_memory(bass, 0.0, 0)
    agreement = []
    tail: FloatArray | None = None
    for start in range(0, len(male) - WINDOW, BLOCK):
        window = male[start : start + WINDOW][None]
        out, [memory] = model.convert(window, BLOCK, LOOK_AHEAD, [memory], [start])
        end = WINDOW - LOOK_AHEAD
        head = out[0, end - BLOCK : end - BLOCK + CROSSFADE].astype(np.float64)
        if tail is not None and decibels(head) > -45:
            agreement.append(float(head @ tail / np.sqrt((head @ head) * (tail @ tail))))
        tail = out[0, end : end + CROSSFADE].astype(np.float64)
    assert len(agreement) > 8
    assert np.median(agreement) > 0.98


def test_block_borders_do_not_click(male: FloatArray, soprano: Voice) -> None:
    out = convert(male, soprano).astype(np.float64)
    # Energy of the third difference around each sample, relative to the level there.
    rough = np.convolve(np.diff(out, 3) ** 2, np.ones(64), "same")
    level = np.convolve(out**2, np.ones(800), "same")[: len(rough)] + 1e-4
    roughness = rough / level
    converting = converter()
    borders = np.arange(BLOCK - converting.delay, len(roughness) - 800, BLOCK)
    assert np.median(roughness[borders]) < 3 * np.median(roughness)
    assert roughness[borders].max() < roughness.max()


def test_a_new_voice_is_glided_to(male: FloatArray, bass: Voice, soprano: Voice) -> None:
    model = WorldModel()
    window = male[16_000 : 16_000 + WINDOW][None]
    memory = model.new_memory(bass, 0.0, 0)
    _, [memory] = model.convert(window, BLOCK, LOOK_AHEAD, [memory], [0])
    turned = model.retarget(memory, soprano, 3.0)
    assert turned.mapping is memory.mapping  # what is left behind, to glide from
    assert turned.register is memory.register
    _, [after] = model.convert(window, BLOCK, LOOK_AHEAD, [turned], [BLOCK])
    assert after.mapping is not None
    assert memory.mapping is not None
    assert after.mapping.offset > memory.mapping.offset


def test_output_is_filled_where_it_promises(male: FloatArray, bass: Voice) -> None:
    model = WorldModel()
    window = male[16_000 : 16_000 + WINDOW][None]
    out, _ = model.convert(window, BLOCK, LOOK_AHEAD, [model.new_memory(bass, 0.0, 0)], [0])
    kept = WINDOW - LOOK_AHEAD - BLOCK - KEPT_BEFORE
    assert not out[0, :kept].any()
    assert decibels(out[0, kept : kept + KEPT_BEFORE]) > decibels(window[0]) - 20


def test_windows_off_the_frame_grid_are_refused(bass: Voice) -> None:
    model = WorldModel()
    with pytest.raises(ValueError, match="multiple of 80"):
        model.convert(
            np.zeros((1, WINDOW + 1), np.float32),
            BLOCK,
            LOOK_AHEAD,
            [model.new_memory(bass, 0.0, 0)],
            [0],
        )
