from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fast_vc_service.audio.files import read_audio
from fast_vc_service.contract import SAMPLE_RATE_IN, Voice
from fast_vc_service.models.nano.converter import NanoConverter
from fast_vc_service.models.nano.load import WeightsError, load_acoustic, load_content, load_vocoder
from fast_vc_service.models.nano.tree import leaves
from fast_vc_service.models.nano.voice import MEMORY_FRAMES, Target
from tests.models import nano_networks

WAVS = Path(__file__).parents[2] / "wavs"


@pytest.fixture(scope="module")
def converter() -> NanoConverter:
    return NanoConverter(nano_networks.networks(), block_ms=60)


@pytest.fixture(scope="module")
def voices(converter: NanoConverter) -> list[Voice]:
    made = []
    for name in ("alto", "bass"):
        audio, rate = read_audio(WAVS / "references" / f"{name}.wav")
        made.append(converter.make_voice(name, audio[: 3 * rate], rate))
    return made


@pytest.fixture(scope="module")
def blocks(converter: NanoConverter) -> NDArray[np.float32]:
    audio, _ = read_audio(WAVS / "sources/british-male-16k.wav")
    count = 12
    return audio[16_000 : 16_000 + count * converter.block].reshape(count, -1)


def run(
    converter: NanoConverter, state: object, blocks: NDArray[np.float32]
) -> NDArray[np.float32]:
    return np.concatenate([converter.step(block[None], [state])[0] for block in blocks])  # type: ignore[list-item]


def test_delay_is_declared_in_whole_quanta(converter: NanoConverter) -> None:
    assert converter.delay == 1280  # 60 + 15 ms, rounded up
    with pytest.raises(ValueError, match="positive multiple of 20"):
        NanoConverter(nano_networks.networks(), block_ms=50)


def test_a_batch_gives_what_each_alone_gives(
    converter: NanoConverter, voices: list[Voice], blocks: NDArray[np.float32]
) -> None:
    alone = run(converter, converter.new_state(voices[0], 1.5, seed=7), blocks)
    mine = converter.new_state(voices[0], 1.5, seed=7)
    theirs = converter.new_state(voices[1], seed=1)
    out = []
    for index, block in enumerate(blocks):
        if index == 5:
            theirs = converter.new_state(voices[1], seed=3)
        out.append(converter.step(np.stack([block[::-1], block]), [theirs, mine])[1])
    assert np.abs(np.concatenate(out) - alone).max() < 1e-4


def test_the_seed_and_the_shift_are_heard(
    converter: NanoConverter, voices: list[Voice], blocks: NDArray[np.float32]
) -> None:
    one = run(converter, converter.new_state(voices[0], seed=1), blocks)
    again = run(converter, converter.new_state(voices[0], seed=1), blocks)
    other = run(converter, converter.new_state(voices[0], seed=2), blocks)
    shifted = run(converter, converter.new_state(voices[0], 5.0, seed=1), blocks)
    assert np.array_equal(one, again)
    assert not np.allclose(one, other, atol=1e-4)
    assert not np.allclose(one, shifted, atol=1e-4)


def test_what_lies_before_the_start_is_silence(
    converter: NanoConverter, voices: list[Voice], blocks: NDArray[np.float32]
) -> None:
    out = run(converter, converter.new_state(voices[0]), blocks)
    assert not out[:1920].any()
    assert out[2600:].any()


def test_a_skipped_block_fades_out_and_the_next_fades_in(
    converter: NanoConverter, voices: list[Voice], blocks: NDArray[np.float32]
) -> None:
    state = converter.new_state(voices[0])
    before = run(converter, state, blocks[:6])
    silence = converter.skip(state)
    assert silence.shape == (converter.block * 3 // 2,)
    assert not silence[120:].any()
    assert abs(silence[0] - before[-1]) < 0.2
    after = run(converter, state, blocks[7:])
    assert not after[:1920].any()
    assert state.frame == 12 * converter.block // 320


def test_a_failing_step_changes_nothing(
    converter: NanoConverter, voices: list[Voice], blocks: NDArray[np.float32]
) -> None:
    state, twin = (converter.new_state(voices[0]) for _ in range(2))
    with pytest.raises(TypeError, match="expected a NanoState"):
        converter.step(blocks[:2], [state, None])  # type: ignore[list-item]
    assert np.array_equal(run(converter, state, blocks[:3]), run(converter, twin, blocks[:3]))


@pytest.mark.parametrize("spoilt", ["sound", "state"])
def test_a_row_that_is_no_number_touches_no_other(
    converter: NanoConverter,
    voices: list[Voice],
    blocks: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    spoilt: str,
) -> None:
    other, bad, twin, beside = (converter.new_state(voices[0], seed=2) for _ in range(4))
    converter.step(blocks[:2], [bad, other])
    converter.step(blocks[:2], [beside, twin])
    speak = converter._speak

    def spoiling(*given: torch.Tensor) -> object:
        sound, state = speak(*given)
        # Rows are sorted in a batch.
        row = int(bad.row > other.row)
        (sound if spoilt == "sound" else state.caches[0])[row] = torch.inf
        return sound, state

    frame = bad.frame
    kept = [leaf.clone() for leaf in leaves(converter._network_states.read([bad.row]))]
    monkeypatch.setattr(converter, "_speak", spoiling)
    out = converter.step(blocks[2:4], [bad, other])
    monkeypatch.setattr(converter, "_speak", speak)
    assert np.isnan(out[0]).all()
    assert bad.frame == frame
    same = leaves(converter._network_states.read([bad.row]))
    assert all(torch.equal(now, then) for now, then in zip(same, kept, strict=True))
    wanted = converter.step(blocks[2:4], [beside, twin])
    assert np.array_equal(out[1], wanted[1])
    converter.skip(bad)
    converter.skip(beside)
    after = converter.step(blocks[4:6], [bad, other])
    assert np.array_equal(after[1], converter.step(blocks[4:6], [beside, twin])[1])
    assert np.isfinite(after).all()


def test_voices_can_change_while_it_speaks(
    converter: NanoConverter, voices: list[Voice], blocks: NDArray[np.float32]
) -> None:
    state = converter.new_state(voices[0], seed=1)
    run(converter, state, blocks[:6])
    converter.update(state, voices[1], 0.0)
    changed = run(converter, state, blocks[6:])
    same = run(converter, converter.new_state(voices[0], seed=1), blocks)[-len(changed) :]
    assert not np.allclose(changed, same, atol=1e-4)


def test_a_voice_keeps_what_is_loud(converter: NanoConverter, voices: list[Voice]) -> None:
    target = Target.of(voices[0])
    assert 50 < int(target.speaker.mask.sum()) <= MEMORY_FRAMES
    assert 150 < np.exp(target.median_log_f0) < 260


@pytest.mark.parametrize(
    ("audio", "reason"),
    [
        (np.zeros(8000, np.float32), "expected at least 1"),
        (np.zeros(48_000, np.float32), "is silent"),
        (np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32), "voiced speech"),
    ],
)
def test_clips_that_make_no_voice(
    converter: NanoConverter, audio: NDArray[np.float32], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        converter.make_voice("x", audio, SAMPLE_RATE_IN)


def test_voices_of_another_kind_are_refused(voices: list[Voice]) -> None:
    with pytest.raises(ValueError, match="family 'world'"):
        Target.of(Voice("x", "world", voices[0].features))
    rest = {key: value for key, value in voices[0].features.items() if key != "vector"}
    with pytest.raises(ValueError, match="vector"):
        Target.of(Voice("x", "nano", rest))


def test_weights_come_back_and_wrong_files_are_told_apart(tmp_path: Path) -> None:
    made = nano_networks.networks()
    nano_networks.save(tmp_path, made)
    loaded = load_content(tmp_path / "content.safetensors")
    assert loaded.config == made.content.config
    assert torch.equal(loaded.stem.weight, made.content.stem.weight)
    load_vocoder(tmp_path / "vocoder.safetensors")
    with pytest.raises(WeightsError, match="is not what was expected"):
        load_acoustic(tmp_path / "vocoder.safetensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_acoustic(tmp_path / "nothing.safetensors")
