"""One pair in numbers."""

from __future__ import annotations

import numpy as np

from training.evaluation.analysis import Analysis
from training.evaluation.pitch import agreement
from training.evaluation.words import character_errors, word_errors


def cosine(first: list[float], second: list[float]) -> float:
    """Of two embeddings of length 1; NaN where one is missing."""
    return float(np.dot(first, second)) if first and second else np.nan


def score(
    output: Analysis, source: Analysis, target: Analysis, other: Analysis
) -> dict[str, float]:
    """All measures of one conversion.

    Args:
        output: what was made of the source.
        source: what was said.
        target: other speech of the speaker whose voice was asked for.
        other: speech of a third person.
    """
    pitch = agreement(np.asarray(source.f0_hz, np.float32), np.asarray(output.f0_hz, np.float32))
    characters = character_errors(source.text, output.text)
    words = word_errors(source.text, output.text)
    scores: dict[str, float] = {}
    for name, verifier in (("secs", "resemblyzer"), ("campplus", "campplus")):
        embedding = getattr(output, verifier)
        for whom, analysis in (("target", target), ("source", source), ("other", other)):
            scores[f"{name}_{whom}"] = cosine(embedding, getattr(analysis, verifier))
        scores[f"{name}_margin"] = scores[f"{name}_target"] - scores[f"{name}_source"]
    return scores | {
        "character_edits": characters.edits,
        "characters": characters.length,
        "word_edits": words.edits,
        "words": words.length,
        "sig": output.sig,
        "bak": output.bak,
        "ovrl": output.ovrl,
        "f0_correlation": pitch.correlation,
        "f0_rmse_semitones": pitch.rmse_semitones,
        "voicing_error": pitch.voicing_error,
        "border_click": output.border_click,
        "border_flux": output.border_flux,
        "level_db": output.level_dbfs - source.level_dbfs,
    }
