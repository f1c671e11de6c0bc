"""What the ``world`` family keeps of a target speaker: register and long-term spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fast_vc_service.audio.bandwidth import is_thin
from fast_vc_service.audio.resample import resample
from fast_vc_service.contract import SAMPLE_RATE_IN, FloatArray, Voice
from fast_vc_service.models.world.analysis import HOP, DoubleArray, analyse
from fast_vc_service.models.world.timbre import BANDS, band_spectra

FAMILY = "world"

SHORTEST_S = 1.0
LONGEST_S = 30.0
"""Seconds of a reference clip; of a longer one the beginning is used."""

LEAST_VOICED_S = 0.5

_SILENCE = 1e-3  # -60 dBFS
_LEAST_SPREAD = 0.02


@dataclass(frozen=True)
class Target:
    """A ``world`` voice, unpacked.

    Attributes:
        median_log_f0: Natural logarithm of Hz.
        spread: Standard deviation of log F0, half the range of its middle 68 %.
        spectrum: Long-term spectrum ``[BANDS]``.
    """

    median_log_f0: float
    spread: float
    spectrum: DoubleArray

    @classmethod
    def of(cls, voice: Voice) -> Target:
        """Unpack ``voice``.

        Raises:
            ValueError: The voice was made by another family or is damaged.
        """
        voice.check_family(FAMILY)
        register = np.asarray(voice.features.get("register", ()), dtype=np.float64)
        spectrum = np.asarray(voice.features.get("spectrum", ()), dtype=np.float64)
        if register.shape != (2,) or spectrum.shape != (BANDS,):
            raise ValueError(
                f"voice {voice.name!r} has register {register.shape} and spectrum "
                f"{spectrum.shape}, expected (2,) and ({BANDS},): make it anew"
            )
        return cls(float(register[0]), float(register[1]), spectrum)


def make_voice(name: str, audio: FloatArray, sample_rate: int) -> Voice:
    """Derive a voice from a clip ``[samples]`` of 1 to 30 s at ``sample_rate`` Hz.

    Raises:
        ValueError: The clip is too short, silent or holds too little voiced speech.
    """
    seconds = len(audio) / sample_rate
    if seconds < SHORTEST_S:
        raise ValueError(
            f"the clip of voice {name!r} lasts {seconds:.2f} s, expected {SHORTEST_S:g} to "
            f"{LONGEST_S:g} s: record a longer one"
        )
    audio = audio[: int(LONGEST_S * sample_rate)]
    if not np.all(np.isfinite(audio)):
        raise ValueError(f"the clip of voice {name!r} holds samples that are not finite")
    if float(np.max(np.abs(audio))) < _SILENCE:
        raise ValueError(f"the clip of voice {name!r} is silent (below -60 dBFS throughout)")
    speech = resample(audio, sample_rate, SAMPLE_RATE_IN)
    frames = analyse(speech, lacks_fundamental=is_thin(speech))
    voiced = frames.f0_hz > 0.0
    voiced_s = float(voiced.sum()) * HOP / SAMPLE_RATE_IN
    if voiced_s < LEAST_VOICED_S:
        raise ValueError(
            f"the clip of voice {name!r} holds {voiced_s:.2f} s of voiced speech, expected "
            f"{LEAST_VOICED_S:g} s or more: use a clip of clear speech"
        )
    log_f0 = np.log(frames.f0_hz[voiced])
    low, median, high = np.percentile(log_f0, (16, 50, 84))
    spread = (high - low) / 2.0  # as in audio.pitch.Register
    spectrum = band_spectra(np.log(frames.envelope[voiced])).mean(axis=0)
    return Voice(
        name=name,
        family=FAMILY,
        features={
            "register": np.array([median, max(spread, _LEAST_SPREAD)], dtype=np.float32),
            "spectrum": spectrum.astype(np.float32),
        },
    )


def blend_voices(name: str, parts: Sequence[tuple[Voice, float]]) -> Voice:
    """Return the voice between those of ``parts``, by their shares (1 in all).

    Averaged are median and spread of log F0, and the long-term spectrum in log amplitudes.

    Raises:
        ValueError: A voice is of another family, or damaged.
    """
    targets = [(Target.of(voice), share) for voice, share in parts]
    register = sum(
        share * np.array([target.median_log_f0, target.spread]) for target, share in targets
    )
    spectrum = sum(share * target.spectrum for target, share in targets)
    return Voice(
        name=name,
        family=FAMILY,
        features={
            "register": np.asarray(register, np.float32),
            "spectrum": np.asarray(spectrum, np.float32),
        },
    )
