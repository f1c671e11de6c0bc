"""PCM in and out: straddling samples, scale, clipping."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_vc_service.audio.codecs import make_decoder, make_encoder
from fast_vc_service.audio.pcm import to_int16


def pack(values: list[int], bit_depth: int) -> bytes:
    return b"".join(value.to_bytes(bit_depth // 8, "little", signed=True) for value in values)


@pytest.mark.parametrize("bit_depth", [16, 24, 32])
def test_scale_and_sign(bit_depth: int) -> None:
    top = 2 ** (bit_depth - 1)
    decoder = make_decoder("PCM", 16000, bit_depth)
    decoded = decoder.decode(pack([0, top // 2, -top // 2, top - 1, -top, -1], bit_depth))
    expected = np.array([0, 0.5, -0.5, (top - 1) / top, -1, -1 / top], np.float32)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, expected)


@given(
    bit_depth=st.sampled_from([16, 24, 32]),
    payload=st.binary(max_size=400),
    cuts=st.lists(st.integers(0, 400), max_size=20),
)
def test_samples_may_straddle_messages(bit_depth: int, payload: bytes, cuts: list[int]) -> None:
    whole = make_decoder("PCM", 16000, bit_depth)
    expected = whole.decode(payload)
    decoder = make_decoder("PCM", 16000, bit_depth)
    bounds = [0, *sorted(min(cut, len(payload)) for cut in cuts), len(payload)]
    pieces = [decoder.decode(payload[a:b]) for a, b in pairwise(bounds)]
    np.testing.assert_array_equal(np.concatenate(pieces), expected)
    width = bit_depth // 8
    assert len(expected) == len(payload) // width
    assert decoder.pending_bytes() == whole.pending_bytes() == len(payload) % width
    assert len(decoder.conceal()) == 0


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=300))
def test_sixteen_bits_survive_the_round_trip(values: list[int]) -> None:
    payload = pack(values, 16)
    samples = make_decoder("PCM", 8000).decode(payload)
    assert make_encoder("PCM", 8000).encode(samples) == [payload]


def test_encoder_clips_rounds_and_never_wraps() -> None:
    samples = np.array(
        [1.0, 1.5, -1.0, -7.0, np.inf, -np.inf, np.nan, 3e38, 0.6 / 32768, -0.6 / 32768], np.float32
    )
    before = samples.copy()
    expected = [32767, 32767, -32768, -32768, 32767, -32768, 0, 32767, 1, -1]
    assert to_int16(samples).tolist() == expected
    np.testing.assert_array_equal(samples, before)


def test_encoder_has_nothing_to_say_about_nothing() -> None:
    encoder = make_encoder("PCM", 44100)
    assert encoder.pre_skip_samples == 0
    assert encoder.encode(np.zeros(0, np.float32)) == []
    assert encoder.flush() == []


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="16, 24 or 32"):
        make_decoder("PCM", 16000, 8)
    with pytest.raises(ValueError, match=r"8000\.\.48000"):
        make_decoder("PCM", 96000)
    with pytest.raises(ValueError, match=r"8000\.\.48000"):
        make_encoder("PCM", 4000)
    with pytest.raises(ValueError, match="one of PCM, OPUS"):
        make_decoder("MP3", 16000)  # type: ignore[arg-type]
