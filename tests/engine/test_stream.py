from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast_vc_service.contract import FloatArray
from fast_vc_service.engine.stream import Stream, convert_offline
from stub_converter import StubConverter, stub_voice

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 44100, 48000)


def run(
    audio: FloatArray,
    cuts: list[int],
    *,
    rate_in: int,
    rate_out: int,
    converter: StubConverter | None = None,
    trim_delay: bool = True,
    seed: int = 0,
) -> FloatArray:
    converter = converter or StubConverter()
    stream = Stream(converter, rate_in=rate_in, rate_out=rate_out, trim_delay=trim_delay)
    state = converter.new_state(stub_voice(), seed=seed)
    out: list[FloatArray] = []

    def drain() -> None:
        while (block := stream.take_block()) is not None:
            out.append(stream.accept(converter.step(block[None], [state])[0]))

    for piece in np.split(audio, sorted(min(cut, len(audio)) for cut in cuts)):
        stream.push(piece)
        drain()
    stream.end()
    drain()
    assert stream.done
    assert stream.total_samples == stream.sent_samples
    return np.concatenate(out) if out else np.zeros(0, np.float32)


def tone(samples: int, rate: int, hz: float = 300.0) -> FloatArray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(samples) / rate)).astype(np.float32)


@settings(max_examples=40)
@given(
    samples=st.integers(0, 9000),
    rate_in=st.sampled_from(RATES) | st.integers(8000, 48000),
    rate_out=st.sampled_from(RATES),
    model_rate=st.sampled_from([16000, 22050, 24000, 44100]),
    cuts=st.lists(st.integers(0, 9000), max_size=12),
    trim=st.booleans(),
)
def test_any_chunking_gives_the_same_samples_and_the_exact_count(
    samples: int, rate_in: int, rate_out: int, model_rate: int, cuts: list[int], trim: bool
) -> None:
    audio = np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)

    def convert(cuts: list[int]) -> FloatArray:
        converter = StubConverter(sample_rate_out=model_rate)
        return run(
            audio, cuts, rate_in=rate_in, rate_out=rate_out, converter=converter, trim_delay=trim
        )

    whole, chunked = convert([]), convert(cuts)
    assert np.array_equal(whole, chunked)
    expected = int(samples * rate_out / rate_in + 0.5)
    if not trim and samples:
        stream = Stream(
            StubConverter(sample_rate_out=model_rate), rate_in=rate_in, rate_out=rate_out
        )
        expected += stream.delay_samples
        assert not whole[: stream.delay_samples].any()
    assert len(whole) == expected
    assert np.isfinite(whole).all()
    assert np.abs(whole, dtype=np.float32).max(initial=0.0) <= 1.0


@pytest.mark.parametrize("rate_in", RATES)
@pytest.mark.parametrize("rate_out", RATES)
def test_the_output_lies_where_the_input_lay(rate_in: int, rate_out: int) -> None:
    audio = tone(rate_in, rate_in)
    out = run(audio, [], rate_in=rate_in, rate_out=rate_out, converter=StubConverter(noise=0.0))
    expected = 0.5 * tone(rate_out, rate_out)
    middle = slice(rate_out // 10, -rate_out // 10)
    assert np.abs(out[middle] - expected[middle]).max() < 2e-3


@given(
    block=st.integers(1, 10).map(lambda n: n * 320),
    delay=st.integers(0, 12).map(lambda n: n * 320),
    samples=st.integers(1, 5000),
)
def test_the_delay_is_cut_whatever_the_geometry(block: int, delay: int, samples: int) -> None:
    audio = np.linspace(-1, 1, samples).astype(np.float32)
    converter = StubConverter(block=block, delay=delay, noise=0.0)
    out = run(audio, [], rate_in=16000, rate_out=16000, converter=converter)
    assert np.array_equal(out, audio * np.float32(0.5))


def test_full_scale_output_is_clipped_not_wrapped() -> None:
    converter = StubConverter(noise=0.0)
    stream = Stream(converter, rate_in=16000, rate_out=16000)
    stream.push(np.ones(640, np.float32))
    assert stream.take_block() is not None
    out = stream.accept(np.full(640, 3.0, np.float32))
    assert out.max() == 1.0


def test_output_position_names_the_sample_that_carries_the_input() -> None:
    stream = Stream(StubConverter(), rate_in=16000, rate_out=48000)
    assert stream.output_position(0) == 0
    assert stream.output_position(100) == 300
    stream = Stream(StubConverter(), rate_in=44100, rate_out=16000)
    assert stream.output_position(441) == 160
    assert stream.output_position(442) == 161
    untrimmed = Stream(StubConverter(), rate_in=16000, rate_out=16000, trim_delay=False)
    assert untrimmed.output_position(0) == untrimmed.delay_samples == 320


def test_block_at_is_the_first_boundary_at_or_after() -> None:
    stream = Stream(StubConverter(block=640), rate_in=48000, rate_out=48000)
    assert [stream.block_at(n) for n in (0, 1, 1920, 1921)] == [0, 1, 1, 2]


def test_push_after_end_is_an_error() -> None:
    stream = Stream(StubConverter(), rate_in=16000, rate_out=16000)
    stream.end()
    with pytest.raises(RuntimeError, match="after end"):
        stream.push(np.zeros(1, np.float32))


def test_no_input_gives_no_output() -> None:
    assert len(run(np.zeros(0, np.float32), [], rate_in=16000, rate_out=48000)) == 0


@pytest.mark.parametrize("chunk_samples", [None, 317, 30_001])
def test_offline_conversion_is_the_stream(chunk_samples: int | None) -> None:
    audio = tone(30_001, 24000)
    offline = convert_offline(
        StubConverter(), stub_voice(), audio, 24000, 48000, seed=3, chunk_samples=chunk_samples
    )
    streamed = run(audio, [777, 20_000], rate_in=24000, rate_out=48000, seed=3)
    assert np.array_equal(offline, streamed)
