"""The five laws of the streaming contract, narrow, on every engine that ships."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fast_vc_service.audio.files import read_audio
from fast_vc_service.contract import SAMPLE_RATE_IN, Converter, FloatArray, Voice, block_out
from fast_vc_service.engine.families import FAMILIES, build_converter, latency_of
from fast_vc_service.engine.stream import Stream, convert_offline

WAVS = Path(__file__).parents[2] / "wavs"
ENGINES = [name for name, family in FAMILIES.items() if not family.downloads]
CONTROL_AT = 7001
"""Input sample of a voice change in the chunking law."""

BATCH_TOLERANCE = {"nano": 1e-4}
"""How far a step in a batch may lie from the step alone; 0 for families not named."""

narrow = settings(
    max_examples=4, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.fixture(scope="module", params=ENGINES)
def converter(request: pytest.FixtureRequest) -> Converter:
    return build_converter(request.param)


@pytest.fixture(scope="module")
def voices(converter: Converter) -> tuple[Voice, Voice]:
    return make_voice(converter, "soprano"), make_voice(converter, "bass")


@pytest.fixture(scope="module")
def speech() -> FloatArray:
    audio, rate = read_audio(WAVS / "sources" / "british-male-16k.wav")
    assert rate == SAMPLE_RATE_IN
    return audio[16_000 : 16_000 + 24_000]


def make_voice(converter: Converter, name: str) -> Voice:
    audio, rate = read_audio(WAVS / "references" / f"{name}.wav")
    return converter.make_voice(name, audio[: 4 * rate], rate)


def blocks_of(converter: Converter, audio: FloatArray) -> FloatArray:
    count = len(audio) // converter.block
    return audio[: count * converter.block].reshape(count, converter.block)


def alone(converter: Converter, voice: Voice, audio: FloatArray, seed: int = 0) -> FloatArray:
    state = converter.new_state(voice, seed=seed)
    steps = [converter.step(block[None], [state])[0] for block in blocks_of(converter, audio)]
    return np.concatenate(steps)


@narrow
@given(data=st.data())
def test_law_1_any_chunking_gives_the_same_output(
    converter: Converter, voices: tuple[Voice, Voice], speech: FloatArray, data: st.DataObject
) -> None:
    rate_in, rate_out = 44_100, 24_000
    cuts = sorted(data.draw(st.sets(st.integers(1, len(speech) - 1), max_size=30)) | {CONTROL_AT})

    def run(cuts: list[int]) -> FloatArray:
        stream = Stream(converter, rate_in=rate_in, rate_out=rate_out)
        state = converter.new_state(voices[0], seed=3)
        change_at = stream.block_at(CONTROL_AT)
        out = []

        def drain() -> None:
            while (block := stream.take_block()) is not None:
                if stream.blocks_taken - 1 == change_at:
                    converter.update(state, voices[1], 2.0)
                out.append(stream.accept(converter.step(block[None], [state])[0]))

        for piece in np.split(speech, cuts):
            stream.push(piece)
            drain()
        stream.end()
        drain()
        return np.concatenate(out)

    assert np.array_equal(run([CONTROL_AT]), run(cuts))


def test_law_2_what_others_do_changes_no_sample(
    converter: Converter, voices: tuple[Voice, Voice], speech: FloatArray
) -> None:
    def source_features(other: FloatArray, voice: Voice, pitch_shift: float) -> FloatArray:
        mine = converter.new_state(voices[0], seed=1)
        theirs = converter.new_state(voice, pitch_shift, seed=9)
        out = []
        for index, block in enumerate(blocks_of(converter, speech)):
            if index == 2:
                # Slot re-use: a new session takes the other's place.
                theirs = converter.new_state(voice, seed=10)
            batch = np.stack([block, blocks_of(converter, other)[index]])
            out.append(converter.step(batch, [mine, theirs])[0])
        return np.concatenate(out)

    noise = np.random.default_rng(0).uniform(-1, 1, len(speech)).astype(np.float32)
    quiet = source_features(np.zeros_like(speech), voices[0], 0.0)
    loud = source_features(noise, voices[1], 12.0)
    assert np.array_equal(quiet, loud)
    apart = np.abs(quiet - alone(converter, voices[0], speech, seed=1)).max()
    assert apart <= BATCH_TOLERANCE.get(converter.family, 0.0)


@narrow
@given(
    samples=st.integers(1, 12_000),
    rate_in=st.sampled_from([8000, 16000, 44100, 48000]),
    rate_out=st.sampled_from([8000, 16000, 24000, 48000]),
)
def test_law_3_the_count_is_exact(
    converter: Converter,
    voices: tuple[Voice, Voice],
    speech: FloatArray,
    samples: int,
    rate_in: int,
    rate_out: int,
) -> None:
    out = convert_offline(converter, voices[0], speech[:samples], rate_in, rate_out)
    assert len(out) == int(samples * rate_out / rate_in + 0.5)


def test_law_3_output_lies_on_the_input(
    converter: Converter, voices: tuple[Voice, Voice], speech: FloatArray
) -> None:
    """Bursts of speech between silences come back where they were, the last as the first."""
    burst, gap = speech[2000:6000], np.zeros(6400, np.float32)
    audio = np.concatenate([gap, burst] * 6 + [gap])
    out = convert_offline(converter, voices[0], audio, 16_000, 16_000)

    def energy(signal: FloatArray) -> np.ndarray:
        frames = signal[: len(signal) // 16 * 16].reshape(-1, 16).astype(np.float64)
        return np.sqrt((frames**2).mean(axis=1))

    tolerance_ms = converter.alignment_tolerance / 16 + 12
    period = (len(burst) + len(gap)) // 16
    for index in (0, 5):
        part = slice(index * period, index * period + period + 400)
        mine, theirs = energy(audio)[part], energy(out)[part]
        shifts = np.arange(-60, 61)
        match = [float(np.dot(np.roll(mine, shift), theirs)) for shift in shifts]
        assert abs(shifts[int(np.argmax(match))]) <= tolerance_ms


HOSTILE = {
    "silence": np.zeros(9600, np.float32),
    "full scale square": np.where(np.arange(9600) // 40 % 2, 1.0, -1.0).astype(np.float32),
    "constant": np.ones(9600, np.float32),
    "8 kHz tone": np.cos(np.pi * np.arange(9600)).astype(np.float32),
    "white noise": np.random.default_rng(0).uniform(-1, 1, 9600).astype(np.float32),
    "one click": np.eye(1, 9600, 4000, dtype=np.float32)[0],
    "denormals": np.full(9600, 1e-40, np.float32),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_law_4_every_sample_is_finite_and_in_range(
    converter: Converter, voices: tuple[Voice, Voice], kind: str
) -> None:
    out = convert_offline(converter, voices[1], HOSTILE[kind], 16_000, 16_000)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 1.0
    if kind == "silence":
        assert np.sqrt(np.mean(out.astype(np.float64) ** 2)) <= 1e-3


def test_law_5_a_skipped_block_holds_nothing_of_the_speaker(
    converter: Converter, voices: tuple[Voice, Voice], speech: FloatArray
) -> None:
    state = converter.new_state(voices[0])
    blocks = blocks_of(converter, speech)
    converter.step(blocks[:1], [state])
    silence = converter.skip(state)
    edge = converter.sample_rate_out // 200
    assert silence.shape == (block_out(converter),)
    assert not silence[edge:].any()
    after = converter.step(blocks[2:3], [state])[0]
    delay_out = converter.delay * converter.sample_rate_out // SAMPLE_RATE_IN
    assert np.abs(after[: max(0, delay_out - edge)]).max(initial=0.0) < 1e-3


def test_a_failing_step_changes_no_state(
    converter: Converter, voices: tuple[Voice, Voice], speech: FloatArray
) -> None:
    blocks = blocks_of(converter, speech)
    states = [converter.new_state(voices[0]) for _ in range(2)]
    for state in states:
        converter.step(blocks[:1], [state])
    with pytest.raises(Exception):  # noqa: B017, PT011
        converter.step(blocks[1:2].repeat(2, axis=0), [states[0], None])  # type: ignore[list-item]
    out = [converter.step(blocks[1:2], [state])[0] for state in states]
    assert np.array_equal(*out)


@pytest.mark.parametrize("engine", ENGINES)
def test_latency_is_one_setting(engine: str) -> None:
    default = latency_of(build_converter(engine))
    assert latency_of(build_converter(engine, latency_ms=round(default) + 1)) == default
    longer = build_converter(engine, latency_ms=round(default) + 101)
    assert latency_of(longer) == pytest.approx(default + 100)
    with pytest.raises(ValueError, match="latency_ms: expected"):
        build_converter(engine, latency_ms=20)
    file_blocks = build_converter(engine, geometry="file")
    assert file_blocks.block > build_converter(engine).block


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="engine: expected one of"):
        build_converter("magic")
    with pytest.raises(ValueError, match="device: expected one of"):
        build_converter("world", device="abacus")
