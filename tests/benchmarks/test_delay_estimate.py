import numpy as np
import pytest

from benchmarks.delay import chirp, envelope, laid_out, offsets, speech_bursts
from fast_vc_service.contract import FloatArray

RATE = 16_000


def delayed(audio: FloatArray, samples: int) -> FloatArray:
    return np.concatenate([np.zeros(samples, np.float32), audio])


@pytest.mark.parametrize("samples", [0, 1, 384, 4000])
def test_a_matched_filter_finds_a_chirp_to_the_sample(samples: int) -> None:
    audio, starts = laid_out([chirp(RATE)] * 3, RATE)
    noise = np.random.default_rng(0).normal(0, 0.01, len(audio) + samples)
    heard = delayed(audio, samples) + noise.astype(np.float32)
    found = offsets(audio, heard, starts, RATE, RATE // 1000)
    np.testing.assert_allclose(found, samples, atol=0.1)


@pytest.mark.parametrize("delay_ms", [0, 64, 264])
def test_envelopes_find_speech_whose_waveform_is_gone(delay_ms: int) -> None:
    audio, starts = laid_out(speech_bursts(RATE), RATE)
    rng = np.random.default_rng(0)
    # Noise with the envelope of the speech: no waveform is left to match.
    converted = np.repeat(envelope(audio, RATE), 16) * rng.normal(0, 0.7, len(audio) // 16 * 16)
    heard = envelope(delayed(converted.astype(np.float32), delay_ms * 16), RATE)
    found = offsets(envelope(audio, RATE), heard, starts, RATE, 1)
    np.testing.assert_allclose(found, delay_ms, atol=2)


def test_events_lie_apart_and_where_they_are_said_to() -> None:
    events = speech_bursts(RATE)
    audio, starts = laid_out(events, RATE)
    for event, start in zip(events, starts, strict=True):
        assert np.array_equal(audio[start : start + len(event)], event)
        assert not audio[start - RATE // 2 : start].any()
    assert not audio[-RATE // 2 :].any()
