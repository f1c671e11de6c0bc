"""The laws of the streaming contract for Seed-VC, on small networks with generated weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray, State, Voice, block_out
from fast_vc_service.engine.capacity import probe_speech
from fast_vc_service.engine.seedvc import build
from fast_vc_service.engine.stream import Stream, convert_offline
from fast_vc_service.engine.window import WindowConverter
from fast_vc_service.models.seedvc.options import SeedVcOptions, SeedVcSource
from tests import seedvc_networks

OPTIONS = SeedVcOptions(steps=1, prompt_s=1.0, context_ms=500, gate=False)
BLOCK_MS = 400
CONTROL_AT = 7001

narrow = settings(max_examples=2, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def converter() -> WindowConverter:
    return seedvc_networks.converter("tiny", OPTIONS, BLOCK_MS)


@pytest.fixture(scope="module")
def voices(converter: WindowConverter) -> tuple[Voice, Voice]:
    return (
        converter.make_voice("one", noise(16_000, 1), 16_000),
        converter.make_voice("two", noise(24_000, 2), 16_000),
    )


def noise(samples: int, seed: int) -> FloatArray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@narrow
@given(cuts=st.sets(st.integers(1, 15_999), max_size=30))
def test_any_chunking_gives_the_same_output(
    converter: WindowConverter, voices: tuple[Voice, Voice], cuts: set[int]
) -> None:
    speech = noise(16_000, 3)

    def run(cuts: list[int]) -> FloatArray:
        stream = Stream(converter, rate_in=44_100, rate_out=24_000)
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

    assert np.array_equal(run([CONTROL_AT]), run(sorted(cuts | {CONTROL_AT})))


def test_what_others_do_changes_no_sample(
    converter: WindowConverter, voices: tuple[Voice, Voice]
) -> None:
    blocks = noise(3 * converter.block, 4).reshape(3, -1)

    def source_features(other: FloatArray, voice: Voice, pitch_shift: float) -> FloatArray:
        mine = converter.new_state(voices[0], seed=1)
        theirs = converter.new_state(voice, pitch_shift, seed=9)
        out = []
        for index, block in enumerate(blocks):
            if index == 1:  # the other's slot is used again
                theirs = converter.new_state(voice, seed=10)
            out.append(converter.step(np.stack([block, other[index]]), [mine, theirs])[0])
        return np.concatenate(out)

    quiet = source_features(np.zeros_like(blocks), voices[0], 0.0)
    loud = source_features(10 * blocks[::-1], voices[1], 12.0)
    assert np.array_equal(quiet, loud)


@pytest.mark.parametrize("name", ["tiny", "small", "base"])
def test_streams_in_one_batch_equal_each_alone(name: str) -> None:
    """Sessions of different ages, sources, voices and pitch, through SOLA and cross-fade."""
    subject = seedvc_networks.converter(name, replace(OPTIONS, gate=True), 200)
    one = subject.make_voice("one", noise(16_000, 1), 16_000)
    two = subject.make_voice("two", noise(24_000, 2), 16_000)
    speech = probe_speech(1.2, SAMPLE_RATE_IN)
    sources = [speech, 0.3 * speech[::-1], speech + noise(len(speech), 3)]
    blocks = np.stack([source[: 5 * subject.block].reshape(5, -1) for source in sources], axis=1)
    chosen = [(one, 0.0), (two, 3.0), (one, -2.0)]

    def states() -> list[State]:
        made: list[State] = [
            subject.new_state(voice, pitch, seed=row) for row, (voice, pitch) in enumerate(chosen)
        ]
        subject.step(blocks[0][1:2], made[1:2])  # the second began a block earlier
        return made

    together, alone = states(), states()
    for block in blocks[1:4]:
        batch = subject.step(block, together)
        single = [subject.step(block[row : row + 1], alone[row : row + 1])[0] for row in range(3)]
        assert np.abs(batch - np.stack(single)).max() < 1e-3
    assert np.abs(batch).max() > 1e-3


@narrow
@given(
    samples=st.integers(1, 9000),
    rate_in=st.sampled_from([8000, 16000, 48000]),
    rate_out=st.sampled_from([16000, 24000, 48000]),
)
def test_the_count_is_exact(
    converter: WindowConverter,
    voices: tuple[Voice, Voice],
    samples: int,
    rate_in: int,
    rate_out: int,
) -> None:
    out = convert_offline(converter, voices[0], noise(samples, 5), rate_in, rate_out)
    assert len(out) == int(samples * rate_out / rate_in + 0.5)


@pytest.mark.parametrize("kind", ["silence", "full scale square", "one click", "denormals"])
def test_every_sample_is_finite_and_in_range(
    converter: WindowConverter, voices: tuple[Voice, Voice], kind: str
) -> None:
    hostile = {
        "silence": np.zeros(6400, np.float32),
        "full scale square": np.where(np.arange(6400) // 40 % 2, 1.0, -1.0).astype(np.float32),
        "one click": np.eye(1, 6400, 4000, dtype=np.float32)[0],
        "denormals": np.full(6400, 1e-40, np.float32),
    }
    out = convert_offline(converter, voices[1], hostile[kind], 16_000, 16_000)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 1.0


def test_silence_gives_silence(voices: tuple[Voice, Voice]) -> None:
    gated = seedvc_networks.converter("tiny", replace(OPTIONS, gate=True), BLOCK_MS)
    out = convert_offline(gated, voices[0], np.zeros(9600, np.float32), 16_000, 16_000)
    assert not out.any()


def test_a_window_longer_than_whisper_hears_is_refused() -> None:
    source = SeedVcSource(options=replace(OPTIONS, context_ms=10_000, lookahead_ms=10_000))
    with pytest.raises(ValueError, match=r"expected at most 30 s in all, got 35\.06 s"):
        build("seedvc-tiny", 15_000, "cpu", source)


def test_a_skipped_block_is_silence_and_the_next_fades_in(
    converter: WindowConverter, voices: tuple[Voice, Voice]
) -> None:
    state = converter.new_state(voices[0])
    blocks = noise(2 * converter.block, 6).reshape(2, -1)
    converter.step(blocks[:1], [state])
    silence = converter.skip(state)
    assert silence.shape == (block_out(converter),)
    assert not silence[converter.sample_rate_out // 200 :].any()
    assert np.isfinite(converter.step(blocks[1:], [state])).all()


def test_a_failing_step_changes_no_state(
    converter: WindowConverter, voices: tuple[Voice, Voice], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = noise(2 * converter.block, 7).reshape(2, -1)
    states = [converter.new_state(voices[0]) for _ in range(2)]
    for state in states:
        converter.step(blocks[:1], [state])
    vocoder = seedvc_networks.networks("tiny").vocoder
    with monkeypatch.context() as broken:
        broken.setattr(vocoder.first, "forward", _fail)
        with pytest.raises(RuntimeError, match="on purpose"):
            converter.step(blocks[1:], [states[0]])
    out = [converter.step(blocks[1:], [state])[0] for state in states]
    assert np.array_equal(*out)


def _fail(*_: object) -> None:
    raise RuntimeError("on purpose")


def test_the_output_lies_where_it_is_declared(converter: WindowConverter) -> None:
    assert converter.delay * 1000 == 80 * SAMPLE_RATE_IN
    assert converter.alignment_tolerance * 1000 == 10 * SAMPLE_RATE_IN
