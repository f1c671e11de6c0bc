"""``python -m training.sample_page``: ten conversions to listen to, with a page that plays them.

    python -m training.sample_page --root DIR --engine nano --out docs/samples

Only speech that may be passed on: the project's own synthetic clips, CC-BY recordings that
training keeps for validation, and a LibriVox reader.
"""

from __future__ import annotations

import argparse
import html
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from fast_vc_service.audio.files import read_audio
from fast_vc_service.audio.resample import resample
from fast_vc_service.engine.families import ENGINES, build_converter
from fast_vc_service.engine.stream import convert_offline
from training.data.real import SAMPLE_RATE_HZ as REAL_RATE_HZ
from training.data.sources import SOURCES
from training.evaluation.clips import EvaluationSetError, recordings
from training.paths import DEFAULT_ROOT

FloatArray = NDArray[np.float32]

RATE_HZ = 24_000
LONGEST_S = 9.0
REFERENCE_S = 6.0
WAVS = Path(__file__).resolve().parents[1] / "wavs"

SYNTHETIC = "synthetic, made for this project with Kokoro-82M (Apache-2.0)"

PAIRS = (
    ("en-librivox", "alto"),
    ("en-librivox", "baritone"),
    ("it-carlo", "soprano"),
    ("it-carlo", "ru-ivrvoice"),
    ("ru-ivrvoice", "en-librivox"),
    ("ru-ivrvoice", "tenor"),
    ("british-male-16k", "ru-ivrvoice"),
    ("female-narration-44k1", "it-carlo"),
    ("telephone-male-8k", "warm"),
    ("whispery-female-22k", "bass"),
)
"""(source, reference): speakers of recordings, or names of files of ``wavs/``."""


class SamplesError(ValueError):
    """A clip is missing."""


@dataclass(frozen=True)
class Speech:
    """A clip with what its licence wants said."""

    name: str
    audio: FloatArray
    rate: int
    credit: str


@dataclass(frozen=True)
class Sample:
    """One row of the page; the paths are relative to it."""

    source: str
    reference: str
    output: str
    source_credit: str
    reference_credit: str


def _credit(speaker: str) -> str:
    (source,) = (each for each in SOURCES if each.speaker == speaker)
    return f"{source.credit}, {source.licence}, from Debian's {source.origin}"


def _recorded(speaker: str, role: str, real: Path) -> Speech:
    """The first recordings of a speaker that no weights have learnt from.

    A source is the longest one of at most 9 s; a reference is made of the others.
    """
    entries = [
        entry
        for entry in recordings(real)
        if entry["speaker"] == speaker and entry["split"] != "train"
    ]
    entries = [entry for entry in entries if entry["samples"] <= LONGEST_S * REAL_RATE_HZ]
    entries.sort(key=lambda entry: -int(entry["samples"]))
    if len(entries) < 2:
        raise SamplesError(f"{speaker}: no recordings; run `python -m training.data real`")
    chosen = entries[:1]
    if role == "reference":
        chosen, total = [], 0
        for entry in entries[1:]:
            if total < REFERENCE_S * REAL_RATE_HZ:
                chosen.append(entry)
                total += int(entry["samples"])
    pause = np.zeros(REAL_RATE_HZ // 4, np.float32)
    pieces: list[FloatArray] = []
    for entry in chosen:
        audio, _ = read_audio(real / entry["file"])
        pieces += [pause, audio] if pieces else [audio]
    return Speech(f"{speaker}-{role}", np.concatenate(pieces), REAL_RATE_HZ, _credit(speaker))


def find(name: str, role: str, real: Path) -> Speech:
    """A clip by the name that :data:`PAIRS` gives it.

    Raises:
        SamplesError: It is missing.
    """
    if any(source.speaker == name for source in SOURCES):
        return _recorded(name, role, real)
    path = WAVS / f"{role}s" / f"{name}.wav"
    if not path.is_file():
        raise SamplesError(f"{path}: missing")
    audio, rate = read_audio(path)
    return Speech(f"{name}-{role}", audio[: round(LONGEST_S * rate)], rate, SYNTHETIC)


def _write(audio: FloatArray, rate: int, path: Path) -> None:
    ready = audio if rate == RATE_HZ else resample(audio, rate, RATE_HZ)
    soundfile.write(path, np.clip(ready, -1, 1), RATE_HZ, "OPUS", format="OGG")


def convert(engine: str, pairs: Sequence[tuple[str, str]], real: Path, out: Path) -> list[Sample]:
    """Convert ``pairs`` through the live geometry of ``engine`` into ``out`` as Ogg Opus.

    Raises:
        SamplesError: A clip is missing.
    """
    converter = build_converter(engine)
    out.mkdir(parents=True, exist_ok=True)
    samples = []
    for number, (source_name, reference_name) in enumerate(pairs, 1):
        source = find(source_name, "source", real)
        reference = find(reference_name, "reference", real)
        voice = converter.make_voice(reference.name, reference.audio, reference.rate)
        output = convert_offline(converter, voice, source.audio, source.rate, RATE_HZ)
        said, wanted = f"{source.name}.opus", f"{reference.name}.opus"
        made = f"{number:02d}-converted.opus"
        _write(source.audio, source.rate, out / said)
        _write(reference.audio, reference.rate, out / wanted)
        _write(output, RATE_HZ, out / made)
        samples.append(Sample(said, wanted, made, source.credit, reference.credit))
        print(f"{number} of {len(pairs)}: {source.name} as {reference.name}", flush=True)
    return samples


def page(engine: str, samples: Sequence[Sample]) -> str:
    """HTML that plays ``samples`` and credits them."""

    def player(path: str) -> str:
        name = html.escape(path.removesuffix(".opus"))
        source = html.escape(path, quote=True)
        return f'<td><audio controls preload="none" src="{source}"></audio><br>{name}</td>'

    rows = "\n".join(
        f"<tr>{player(each.source)}{player(each.reference)}{player(each.output)}</tr>"
        for each in samples
    )
    items = "\n".join(f"<li>{html.escape(line)}</li>" for line in credits(samples))
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Samples of {html.escape(engine)}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; }}
table {{ border-collapse: collapse; width: 100%; }}
td, th {{ border-top: 1px solid #8884; padding: .5rem; text-align: left; font-size: .85rem; }}
audio {{ width: 100%; }}
</style>
<h1>Samples of {html.escape(engine)}</h1>
<p>Converted live: in blocks, with the look-ahead the service has by default. No training step has
heard a recording that is played here.</p>
<table>
<tr><th>source</th><th>reference</th><th>converted</th></tr>
{rows}
</table>
<h2>Credits</h2>
<ul>
{items}
</ul>
</html>
"""


def credits(samples: Sequence[Sample]) -> Iterator[str]:  # noqa: A001
    """One line for each clip that is passed on; those made from it are under its licence too."""
    clips = {each.source: each.source_credit for each in samples}
    clips |= {each.reference: each.reference_credit for each in samples}
    for name, credit in sorted(clips.items()):
        yield f"{name.removesuffix('.opus')}: {credit}"


def readme(engine: str, samples: Sequence[Sample]) -> str:
    """Markdown that stands beside the page."""
    lines = "".join(f"- {line}\n" for line in credits(samples))
    return (
        f"# Samples of {engine}\n\n"
        f"Ten conversions by the live geometry of `{engine}`; `index.html` plays them. Made by "
        f"`python -m training.sample_page --engine {engine}`.\n\n"
        "Licences, which hold for what was converted from a clip too:\n\n"
        f"{lines}"
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.sample_page", description=__doc__)
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the page")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        samples = convert(args.engine, PAIRS, args.root / "real", args.out)
    except (SamplesError, EvaluationSetError) as error:
        raise SystemExit(f"training.sample_page: {error}") from error
    rows: list[dict[str, Any]] = [asdict(each) for each in samples]
    (args.out / "samples.json").write_text(json.dumps(rows, indent=1) + "\n")
    (args.out / "index.html").write_text(page(args.engine, samples))
    (args.out / "README.md").write_text(readme(args.engine, samples))
    print(f"written: {args.out / 'index.html'}")


if __name__ == "__main__":
    main()
