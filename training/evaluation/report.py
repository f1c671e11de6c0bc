"""Means with intervals of all systems, as JSON content, as a table and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from training.evaluation import bootstrap
from training.evaluation.clips import Pair

METHOD = (
    "95 % intervals by the pigeonhole bootstrap: sources and references are drawn anew, each "
    f"with replacement, {bootstrap.DRAWS} times"
)


@dataclass(frozen=True)
class Metric:
    """How one number of the report is made of the scores of all pairs.

    Attributes:
        key: name in the JSON.
        title: name in table and picture.
        digits: after the point.
        top: score that is summed.
        bottom: score it is divided by the sum of; None for a mean.
        percent: shown times 100.
    """

    key: str
    title: str
    digits: int
    top: str
    bottom: str | None = None
    percent: bool = False


METRICS = (
    Metric("secs_target", "SECS to target", 3, "secs_target"),
    Metric("secs_source", "SECS to source", 3, "secs_source"),
    Metric("secs_other", "SECS to another speaker", 3, "secs_other"),
    Metric("secs_margin", "SECS, target − source", 3, "secs_margin"),  # noqa: RUF001
    Metric("campplus_target", "CAM++ to target", 3, "campplus_target"),
    Metric("campplus_source", "CAM++ to source", 3, "campplus_source"),
    Metric("campplus_other", "CAM++ to another speaker", 3, "campplus_other"),
    Metric("campplus_margin", "CAM++, target − source", 3, "campplus_margin"),  # noqa: RUF001
    Metric("cer", "CER, %", 1, "character_edits", "characters", percent=True),
    Metric("wer", "WER, %", 1, "word_edits", "words", percent=True),
    Metric("sig", "DNSMOS SIG", 2, "sig"),
    Metric("bak", "DNSMOS BAK", 2, "bak"),
    Metric("ovrl", "DNSMOS OVRL", 2, "ovrl"),
    Metric("f0_correlation", "F0 correlation", 3, "f0_correlation"),
    Metric("f0_rmse_semitones", "F0 error, semitones", 2, "f0_rmse_semitones"),
    Metric("voicing_error", "voicing error, %", 1, "voicing_error", percent=True),
    Metric("border_click", "border, click ratio", 2, "border_click"),
    Metric("border_flux", "border, flux ratio", 2, "border_flux"),
    Metric("level_db", "level against source, dB", 1, "level_db"),
)

Scores = Sequence[Mapping[str, float]]


def _estimate(
    metric: Metric, numerators: Sequence[float], scores: Scores, weights: Any
) -> dict[str, float | None]:
    bottom = [1.0 if metric.bottom is None else row[metric.bottom] for row in scores]
    found = asdict(bootstrap.ratio(numerators, bottom, weights))
    return {name: None if math.isnan(value) else round(value, 5) for name, value in found.items()}


def estimates(pairs: Sequence[Pair], scores: Scores) -> dict[str, Any]:
    """Mean, interval and count of each metric of one system."""
    weights = _weights(pairs)
    return {
        metric.key: _estimate(metric, [row[metric.top] for row in scores], scores, weights)
        for metric in METRICS
    }


def differences(pairs: Sequence[Pair], scores: Scores, against: Scores) -> dict[str, Any]:
    """The same of one system minus another, pair by pair: narrower than two intervals."""
    weights = _weights(pairs)
    return {
        metric.key: _estimate(
            metric,
            [row[metric.top] - base[metric.top] for row, base in zip(scores, against, strict=True)],
            scores,
            weights,
        )
        for metric in METRICS
    }


def by_language(pairs: Sequence[Pair], scores: Scores) -> dict[str, float]:
    """Pooled CER of the sources of each language."""
    languages = sorted({pair.source.language for pair in pairs})
    result = {}
    for language in languages:
        rows = [
            row for pair, row in zip(pairs, scores, strict=True) if pair.source.language == language
        ]
        length = sum(row["characters"] for row in rows)
        result[language] = round(sum(row["character_edits"] for row in rows) / max(length, 1), 4)
    return result


def by_sexes(pairs: Sequence[Pair], scores: Scores) -> dict[str, dict[str, float]]:
    """Plain means of the similarities for each direction (``f-m``: woman to man)."""
    kinds = [f"{pair.source.sex}-{pair.reference.sex}" for pair in pairs]
    keys = ("secs_target", "secs_source", "campplus_target", "campplus_source")
    return {
        kind: {
            key: round(sum(row[key] for row in rows) / len(rows), 4)
            for key in keys
            if not any(math.isnan(row[key]) for row in rows)
        }
        for kind in sorted(set(kinds))
        if (rows := [row for name, row in zip(kinds, scores, strict=True) if name == kind])
    }


def _weights(pairs: Sequence[Pair]) -> Any:
    return bootstrap.draw_weights(
        [pair.source.name for pair in pairs], [pair.reference.name for pair in pairs]
    )


def cell(metric: Metric, estimate: Mapping[str, float | None]) -> str:
    """``mean [low, high]``, or a dash where nothing was measured."""
    values = [estimate[name] for name in ("mean", "low", "high")]
    if any(value is None for value in values):
        return "–"  # noqa: RUF001
    factor = 100 if metric.percent else 1
    mean, low, high = (f"{(value or 0.0) * factor:.{metric.digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"


def table(content: Mapping[str, Any]) -> str:
    """Markdown: a row a metric, a column a system; the last lines say how it was measured."""
    systems = content["systems"]
    rows = [["", *(system["name"] for system in systems)], ["---", *["---:"] * len(systems)]]
    for metric in METRICS:
        cells = [cell(metric, system["metrics"][metric.key]) for system in systems]
        rows.append([metric.title, *cells])
    lines = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    people = content["people"]
    same = ", ".join(f"{name} {people[name]['same']:.3f}" for name in people)
    different = ", ".join(f"{name} {people[name]['different']:.3f}" for name in people)
    return (
        f"{lines}\n{content['pairs']} pairs of {content['sources']} sources and "
        f"{content['references']} references; {content['bootstrap']}. Recordings of one person "
        f"measure {same}, those of two persons {different}.\n"
    )


def draw(content: Mapping[str, Any], path: Path) -> None:
    """A picture with one small plot a metric: means and intervals by system."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    systems = content["systems"]
    columns = 4
    rows = -(-len(METRICS) // columns)
    size = (3.6 * columns, (0.8 + 0.22 * len(systems)) * rows)
    figure, axes = pyplot.subplots(rows, columns, figsize=size, layout="constrained", sharey=True)
    names = [system["name"] for system in systems]
    for axis, metric in zip(axes.flat, METRICS, strict=False):
        factor = 100 if metric.percent else 1
        for place, system in enumerate(systems):
            found = system["metrics"][metric.key]
            if found["mean"] is None:
                continue
            mean, low, high = (factor * found[name] for name in ("mean", "low", "high"))
            spread = [[max(mean - low, 0.0)], [max(high - mean, 0.0)]]
            axis.errorbar(mean, place, xerr=spread, fmt="o", markersize=4, capsize=3)
        axis.set_title(metric.title, fontsize=9)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(METRICS) :]:
        axis.set_visible(False)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
