"""What microphones, rooms and telephone lines do to speech: waveform functions in plain numpy.

All functions take and return mono float32 [samples] of the same length and keep the timing (no
delay), so labels stay aligned; only :func:`change_speed` stretches time. Randomness comes from the
generator passed in.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy import signal  # type: ignore[import-untyped]

FloatArray = NDArray[np.float32]
Rng = np.random.Generator

_TELEPHONE_HZ = 8_000
_MU = 255.0
_A = 87.6


def rms(x: FloatArray) -> float:
    """Root mean square, never zero."""
    return math.sqrt(float(np.mean(np.square(x, dtype=np.float64))) + 1e-12)


def speech_level(x: FloatArray, rate_hz: int) -> float:
    """RMS over the louder half of 20 ms frames: pauses do not count as speech."""
    frame = rate_hz // 50
    count = len(x) // frame
    if count < 2:
        return rms(x)
    power = np.square(x[: count * frame].reshape(count, frame)).mean(axis=1)
    return math.sqrt(float(np.sort(power)[count // 2 :].mean()) + 1e-12)


def coloured_noise(samples: int, exponent: float, rng: Rng) -> FloatArray:
    """Noise of unit RMS whose power falls with frequency**exponent (0 white, 1 pink, 2 brown)."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.maximum(np.fft.rfftfreq(samples), 1.0 / samples)
    noise = np.fft.irfft(spectrum * frequency ** (-exponent / 2), samples).astype(np.float32)
    return np.asarray(noise / rms(noise), np.float32)


def add_noise(x: FloatArray, noise: FloatArray, snr_db: float, rate_hz: int) -> FloatArray:
    """Mix ``noise`` (cut or repeated to fit) at a ratio to the speech level."""
    fitted = np.resize(noise, x.shape)
    scale = speech_level(x, rate_hz) / rms(fitted) * 10 ** (-snr_db / 20)
    return np.asarray(x + scale * fitted, np.float32)


def reverberate(
    x: FloatArray, rt60_s: float, direct_to_reverberant_db: float, rate_hz: int, rng: Rng
) -> FloatArray:
    """A synthetic room: the direct sound and a decaying tail that darkens as it decays."""
    samples = max(int(rt60_s * rate_hz), 16)
    time = np.arange(samples) / rate_hz
    bright = rng.standard_normal(samples) * np.exp(-6.9 * time / (0.5 * rt60_s))
    dark = signal.lfilter([0.25], [1, -0.75], rng.standard_normal(samples))
    tail = 0.5 * bright + dark * np.exp(-6.9 * time / rt60_s)
    tail[: int(rng.uniform(0.002, 0.02) * rate_hz)] = 0.0
    energy = float(np.sum(np.square(tail))) + 1e-12
    tail *= 10 ** (-direct_to_reverberant_db / 20) / math.sqrt(energy)
    tail[0] = 1.0
    return np.asarray(signal.fftconvolve(x, tail)[: len(x)], np.float32)


def equalise(x: FloatArray, gains_db: FloatArray, rate_hz: int) -> FloatArray:
    """A smooth gain curve, without delay.

    Args:
        gains_db: gains at points spread evenly on a log frequency axis from 60 Hz to Nyquist.
        x: speech.
        rate_hz: its rate.
    """
    frequency = np.log(np.maximum(np.fft.rfftfreq(len(x), 1 / rate_hz), 1.0))
    points = np.linspace(math.log(60.0), math.log(rate_hz / 2), len(gains_db))
    gain = 10 ** (np.interp(frequency, points, gains_db) / 20)
    return np.fft.irfft(np.fft.rfft(x) * gain, len(x)).astype(np.float32)


def band_limit(x: FloatArray, low_hz: float, high_hz: float, rate_hz: int) -> FloatArray:
    """Butterworth band pass, forwards and backwards (no delay)."""
    high_hz = min(high_hz, 0.49 * rate_hz)
    sections = signal.butter(3, [low_hz, high_hz], "bandpass", fs=rate_hz, output="sos")
    return np.asarray(signal.sosfiltfilt(sections, x), np.float32)


def clip_peaks(x: FloatArray, drive_db: float) -> FloatArray:
    """Overdrive: amplify to ``drive_db`` above full scale, clip, and restore the level."""
    peak = float(np.abs(x).max()) + 1e-9
    gain = 10 ** (drive_db / 20) / peak
    return np.asarray(np.clip(x * gain, -1, 1) / gain, np.float32)


def _resample(x: FloatArray, rate_in_hz: float, rate_out_hz: float) -> FloatArray:
    return np.asarray(soxr.resample(x, rate_in_hz, rate_out_hz), np.float32)


def _fit(x: FloatArray, samples: int) -> FloatArray:
    return np.pad(x, (0, max(0, samples - len(x))))[:samples]


def mu_law(x: FloatArray) -> FloatArray:
    """G.711 mu-law: to 8 bits and back."""
    y = np.sign(x) * np.log1p(_MU * np.minimum(np.abs(x), 1)) / math.log1p(_MU)
    y = np.round(y * 127) / 127
    return np.asarray(np.sign(y) * np.expm1(np.abs(y) * math.log1p(_MU)) / _MU, np.float32)


def a_law(x: FloatArray) -> FloatArray:
    """G.711 A-law: to 8 bits and back."""
    size, scale = np.minimum(np.abs(x), 1), 1 + math.log(_A)
    y = np.where(size < 1 / _A, _A * size, 1 + np.log(np.maximum(_A * size, 1))) / scale
    y = np.round(y * 127) / 127 * scale
    z = np.where(y < 1, y, np.exp(y - 1)) / _A
    return np.asarray(np.sign(x) * z, np.float32)


def gsm(x: FloatArray) -> FloatArray:
    """GSM 06.10 full rate at 8 kHz, by libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, x, _TELEPHONE_HZ, "GSM610", format="WAV")
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    return _fit(np.asarray(decoded, np.float32), len(x))


def telephone(x: FloatArray, rate_hz: int, codec: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """A telephone line: 300 to 3400 Hz, 8 kHz, and one of the codecs above."""
    narrow = _resample(band_limit(x, 300.0, 3400.0, rate_hz), rate_hz, _TELEPHONE_HZ)
    peak = max(1.0, float(np.abs(narrow).max()))
    coded = codec(np.asarray(narrow / peak, np.float32)) * np.float32(peak)
    return _fit(_resample(coded, _TELEPHONE_HZ, rate_hz), len(x))


def opus(x: FloatArray, bitrate: int, rate_hz: int) -> FloatArray:
    """Opus (VoIP mode, 20 ms packets) and back, its look-ahead taken out.

    Args:
        x: speech in [-1, 1].
        bitrate: bits a second.
        rate_hz: 8, 12, 16, 24 or 48 kHz.
    """
    import opuslib

    encoder = opuslib.Encoder(rate_hz, 1, opuslib.APPLICATION_VOIP)
    encoder.bitrate = bitrate
    decoder = opuslib.Decoder(rate_hz, 1)
    frame, skip = rate_hz // 50, int(encoder.lookahead)
    padded = np.pad(np.clip(x, -1, 1), (0, skip + frame))
    packets = (padded[: len(padded) // frame * frame] * 32767).astype("<i2").reshape(-1, frame)
    decoded = b"".join(
        decoder.decode(encoder.encode(packet.tobytes(), frame), frame) for packet in packets
    )
    samples = np.frombuffer(decoded, "<i2")[skip:].astype(np.float32)
    return _fit(samples / np.float32(32768), len(x))


def change_speed(x: FloatArray, factor: float) -> FloatArray:
    """Play ``factor`` times faster: pitch, formants and tempo move together.

    The result has ``len(x) / factor`` samples; an event at time t moves to t / factor.
    """
    return _resample(x, factor, 1.0)


def shift_pitch(x: FloatArray, pitch: float, formants: float, rate_hz: int) -> FloatArray:
    """Scale F0 and the spectral envelope by independent factors, through WORLD."""
    import pyworld

    wide = x.astype(np.float64)
    f0, times = pyworld.harvest(wide, rate_hz, frame_period=5.0)
    envelope = pyworld.cheaptrick(wide, f0, times, rate_hz)
    aperiodicity = pyworld.d4c(wide, f0, times, rate_hz)
    bins = np.arange(envelope.shape[1])
    source = np.minimum(bins / formants, bins[-1])
    low = source.astype(int)
    high, part = np.minimum(low + 1, bins[-1]), source - low
    warped = np.exp((1 - part) * np.log(envelope[:, low]) + part * np.log(envelope[:, high]))
    y = pyworld.synthesize(
        f0 * pitch, np.ascontiguousarray(warped), aperiodicity, rate_hz, frame_period=5.0
    )
    return _fit(y.astype(np.float32), len(x))


def degrade(x: FloatArray, rate_hz: int, rng: Rng, babble: FloatArray | None = None) -> FloatArray:
    """A random chain of the above, as a call might sound. Peak at most 1.

    Args:
        x: clean speech.
        rate_hz: its rate, 16 kHz for Opus and the telephone to make sense.
        rng: all choices.
        babble: other speech to be used as background for some clips.
    """
    if rng.random() < 0.35:
        x = reverberate(x, rng.uniform(0.1, 0.9), rng.uniform(-2, 18), rate_hz, rng)
    if rng.random() < 0.7:
        noise = coloured_noise(len(x), rng.uniform(-0.5, 2.0), rng)
        if babble is not None and rng.random() < 0.25:
            noise = babble
        x = add_noise(x, noise, rng.uniform(3, 40), rate_hz)
    if rng.random() < 0.6:
        x = equalise(x, rng.uniform(-8, 8, 6).astype(np.float32), rate_hz)
    if rng.random() < 0.15:
        x = band_limit(x, rng.uniform(60, 250), rng.uniform(3000, 7500), rate_hz)
    if rng.random() < 0.08:
        x = clip_peaks(x, rng.uniform(1, 12))
    x = x / max(float(np.abs(x).max()), 1e-6) * np.float32(10 ** (-rng.uniform(0.5, 12) / 20))
    line = rng.random()
    if line < 0.15:
        codec = (mu_law, a_law, gsm)[int(rng.integers(3))]
        x = telephone(x, rate_hz, codec)
    elif line < 0.35:
        x = opus(x, int(rng.integers(8, 33)) * 1000, rate_hz)
    x = x * np.float32(10 ** (-rng.uniform(0, 24) / 20))
    return np.clip(x, -1, 1)
