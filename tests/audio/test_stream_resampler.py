"""The live resampler: chunking, counts, alignment and what its filter lets through."""

import copy
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_vc_service.audio.resample import (
    REACH_S,
    STOPBAND_DB,
    TRANSITION_HZ,
    StreamResampler,
    _kernel,
    resample,
)
from fast_vc_service.contract import FloatArray

CLIENT_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
MODEL_RATES = (16000, 22050, 24000, 44100)
ODD_PAIRS = [(15999, 16000), (47999, 16000), (16000, 47999), (16000, 15999), (8501, 16000)]
PAIRS = sorted(
    {(rate, 16000) for rate in CLIENT_RATES}
    | {(model, rate) for model in MODEL_RATES for rate in CLIENT_RATES}
    | set(ODD_PAIRS)
)
UNEQUAL = [pair for pair in PAIRS if pair[0] != pair[1]]


def convert(
    x: FloatArray, rate_in: int, rate_out: int, cuts: list[int] | None = None
) -> FloatArray:
    stream = StreamResampler(rate_in, rate_out)
    bounds = [0, *sorted(cuts or []), len(x)]
    pieces = [stream.push(x[a:b]) for a, b in pairwise(bounds)]
    return np.concatenate([*pieces, stream.flush()])


def tone(hz: float, rate: int, samples: int) -> FloatArray:
    return np.sin(2 * np.pi * hz * np.arange(samples) / rate).astype(np.float32)


def level_db(x: FloatArray) -> float:
    return float(20 * np.log10(np.sqrt(2 * np.mean(np.square(x, dtype=np.float64))) + 1e-12))


def speechlike(rng: np.random.Generator, rate: int, band_hz: float, samples: int) -> FloatArray:
    """Noise without content above ``band_hz``, fading in and out."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    spectrum[np.fft.rfftfreq(samples, 1 / rate) > band_hz] = 0
    x = np.fft.irfft(spectrum, samples) * np.hanning(samples)
    return (0.3 * x / np.abs(x).max()).astype(np.float32)


@given(
    pair=st.sampled_from(PAIRS),
    samples=st.integers(0, 4000),
    seed=st.integers(0, 9),
    data=st.data(),
)
def test_any_chunking_gives_the_same_bits(
    pair: tuple[int, int], samples: int, seed: int, data: st.DataObject
) -> None:
    x = np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)
    cuts = data.draw(st.lists(st.integers(0, samples), max_size=30))
    assert convert(x, *pair, cuts).tobytes() == convert(x, *pair).tobytes()


@pytest.mark.parametrize("pair", PAIRS)
def test_single_samples_give_the_same_bits(pair: tuple[int, int]) -> None:
    x = np.random.default_rng(1).uniform(-1, 1, 700).astype(np.float32)
    assert convert(x, *pair, list(range(1, 700))).tobytes() == convert(x, *pair).tobytes()


@pytest.mark.parametrize("pair", [(16000, 48000), (44100, 16000), (15999, 16000)])
def test_pushing_minutes_at_once_gives_the_same_bits_as_20_ms(pair: tuple[int, int]) -> None:
    x = np.random.default_rng(2).uniform(-1, 1, pair[0] * 3).astype(np.float32)
    cuts = list(range(0, len(x), pair[0] // 50))
    assert convert(x, *pair, cuts).tobytes() == convert(x, *pair).tobytes()


@given(pair=st.sampled_from(PAIRS), samples=st.integers(0, 5000))
def test_total_is_exact(pair: tuple[int, int], samples: int) -> None:
    expected = -(-samples * pair[1] // pair[0])
    assert len(convert(np.ones(samples, np.float32), *pair)) == expected


@given(
    rate_in=st.integers(8000, 48000), rate_out=st.integers(8000, 48000), chunk=st.integers(1, 999)
)
def test_emits_all_that_the_look_ahead_allows(rate_in: int, rate_out: int, chunk: int) -> None:
    stream = StreamResampler(rate_in, rate_out)
    assert 0 <= stream.lookahead_s <= 0.002
    reach = round(stream.lookahead_s * rate_in)
    got = received = 0
    for _ in range(5):
        got += len(stream.push(np.zeros(chunk, np.float32)))
        received += chunk
        assert got == max(0, -(-(received - reach) * rate_out // rate_in))


@pytest.mark.parametrize("pair", UNEQUAL)
def test_matches_soxr_in_the_pass_band(pair: tuple[int, int]) -> None:
    # soxr's own pass-band ends at 0.91 of the Nyquist frequency.
    band = min(min(pair) / 2 - TRANSITION_HZ, 0.45 * min(pair))
    x = speechlike(np.random.default_rng(3), pair[0], band, pair[0])
    ours, theirs = convert(x, *pair), resample(x, *pair)
    length = min(len(ours), len(theirs))
    error = ours[:length] - theirs[:length]
    assert level_db(error) - level_db(theirs) < -60


@pytest.mark.parametrize("pair", UNEQUAL)
def test_pass_band_is_flat_and_in_phase(pair: tuple[int, int]) -> None:
    rate_in, rate_out = pair
    for hz in np.linspace(40, min(pair) / 2 - TRANSITION_HZ, 7):
        y = convert(tone(hz, rate_in, rate_in // 2), *pair)
        inner = slice(rate_out // 20, -rate_out // 20)
        expected = tone(hz, rate_out, len(y))
        gain = float(y[inner] @ expected[inner] / (expected[inner] @ expected[inner]))
        assert abs(20 * np.log10(gain)) < 0.01
        # What is left are images and phase errors.
        assert level_db(y[inner] - np.float32(gain) * expected[inner]) < -STOPBAND_DB


@pytest.mark.parametrize(
    "pair", [pair for pair in UNEQUAL if pair[0] > pair[1] + 4 * TRANSITION_HZ]
)
def test_stop_band_is_silent(pair: tuple[int, int]) -> None:
    rate_in, rate_out = pair
    for hz in np.linspace(rate_out / 2 + TRANSITION_HZ, rate_in / 2 - 10, 15):
        y = convert(tone(hz, rate_in, rate_in // 2), *pair)
        assert level_db(y[rate_out // 20 : -rate_out // 20]) < -STOPBAND_DB


@pytest.mark.parametrize("pair", UNEQUAL)
def test_a_constant_stays_a_constant(pair: tuple[int, int]) -> None:
    y = convert(np.full(4000, 0.5, np.float32), *pair)
    edge = int(REACH_S * pair[1]) + 2
    np.testing.assert_allclose(y[edge:-edge], 0.5, atol=2e-6)


@pytest.mark.parametrize("pair", PAIRS)
def test_starts_at_once_where_the_input_starts(pair: tuple[int, int]) -> None:
    x = np.zeros(2000, np.float32)
    x[0] = 1.0
    y = convert(x, *pair)
    assert np.argmax(np.abs(y)) == 0


def test_an_hour_does_not_drift() -> None:
    rate_in, rate_out = 44_100, 48_000
    stream = StreamResampler(rate_in, rate_out)
    # Leave the arithmetic as it is after an hour, without computing an hour.
    minute = np.zeros(rate_in * 60, np.float32)
    sent = sum(len(stream.push(minute)) for _ in range(3))
    click = np.zeros(2000, np.float32)
    click[147 * 5] = 1.0
    y = stream.push(click)
    assert sent + int(np.argmax(y)) == 3 * 60 * rate_out + 160 * 5


@pytest.mark.slow
@pytest.mark.parametrize("pair", [(16000, 47999), (44100, 16000)])
def test_a_whole_hour_does_not_drift(pair: tuple[int, int]) -> None:
    rate_in, rate_out = pair
    stream = StreamResampler(rate_in, rate_out)
    second = np.zeros(rate_in, np.float32)
    sent = sum(len(stream.push(second)) for _ in range(3600))
    click = np.zeros(rate_in, np.float32)
    click[0] = 1.0
    y = stream.push(click)
    assert sent + int(np.argmax(y)) == 3600 * rate_out


def test_equal_rates_pass_through_a_copy() -> None:
    stream = StreamResampler(16000, 16000)
    x = np.linspace(-1, 1, 50, dtype=np.float32)
    y = stream.push(x)
    assert stream.lookahead_s == 0
    assert y.tobytes() == x.tobytes()
    assert not np.shares_memory(x, y)
    assert len(stream.flush()) == 0


def test_a_copy_goes_its_own_way() -> None:
    rng = np.random.default_rng(4)
    x = rng.uniform(-1, 1, 1000).astype(np.float32)
    stream = StreamResampler(44100, 16000)
    stream.push(x)
    twin = copy.copy(stream)
    twin.push(-x)
    untouched = StreamResampler(44100, 16000)
    untouched.push(x)
    assert stream.push(x).tobytes() == untouched.push(x).tobytes()


def test_memory_stays_bounded_in_streams_and_kernels() -> None:
    stream = StreamResampler(48000, 16000)
    stream.push(np.zeros(1_000_000, np.float32))
    assert stream._buffer.base is None
    assert len(stream._buffer) < 500
    assert _kernel.cache_parameters()["maxsize"] <= 64
    for pair in [(47999, 48000), (48000, 47999), (8001, 47998), *PAIRS]:
        if pair[0] != pair[1]:
            assert _kernel(*pair).bank.nbytes <= 512 * 1024


@pytest.mark.parametrize("pair", UNEQUAL)
def test_no_nan_and_no_denormals_come_out(pair: tuple[int, int]) -> None:
    x = np.random.default_rng(5).uniform(-1, 1, 600).astype(np.float32)
    x[100:] *= np.float32(1e-39)
    y = convert(x, *pair)
    assert np.isfinite(y).all()
    assert not ((y != 0) & (np.abs(y) < np.finfo(np.float32).tiny)).any()


def test_push_after_flush_is_refused_and_a_second_flush_is_empty() -> None:
    stream = StreamResampler(8000, 16000)
    stream.push(np.ones(10, np.float32))
    assert len(stream.flush()) > 0
    assert len(stream.flush()) == 0
    with pytest.raises(RuntimeError, match="after flush"):
        stream.push(np.ones(1, np.float32))


@pytest.mark.parametrize("rates", [(7999, 16000), (16000, 48001), (0, 16000)])
def test_rates_out_of_range_are_refused(rates: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"8000\.\.48000 Hz"):
        StreamResampler(*rates)


@pytest.mark.parametrize("pair", [(44100, 16000), (16000, 44100), (96000, 16000), (16000, 16000)])
@pytest.mark.parametrize("samples", [0, 1, 7, 10_001])
def test_one_shot_length_is_rounded(pair: tuple[int, int], samples: int) -> None:
    y = resample(np.full(samples, 0.1, np.float32), *pair)
    assert len(y) == int(samples * pair[1] / pair[0] + 0.5)
    assert y.dtype == np.float32
