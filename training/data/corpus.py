# ruff: noqa: RUF001 - the punctuation of other scripts is meant
"""Sentences to be spoken: from Debian's fortune cookies and the Unicode locale data.

Only the *sound sequence* of a sentence reaches the model; no text is shipped with the weights.
French, Hindi, Japanese and (in part) Mandarin have no suitable fortune files, so lists of the
locale data's symbol descriptions, which are short natural phrases, stand in for sentences.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from training.data.phonemes import MAX_TOKENS, MIN_TOKENS, phonemes, tokens

EVALUATION_PERCENT = 4
"""Share of the sentences that no training utterance uses."""

_ENGLISH_FORTUNES = [
    "art",
    "computers",
    "cookie",
    "definitions",
    "education",
    "food",
    "fortunes",
    "goedel",
    "humorists",
    "kids",
    "law",
    "linux",
    "literature",
    "magic",
    "medicine",
    "miscellaneous",
    "news",
    "paradoxum",
    "people",
    "pets",
    "platitudes",
    "riddles",
    "science",
    "songs-poems",
    "sports",
    "startrek",
    "tao",
    "wisdom",
    "work",
]
_FORTUNES: dict[str, list[str]] = {
    "en-us": _ENGLISH_FORTUNES,
    "en-gb": _ENGLISH_FORTUNES,
    "es": ["es/*.fortunes"],
    "it": ["it/*"],
    "pt": ["brasil"],
    "zh": ["tang300", "song100"],
}
_LOCALES = {"fr": "fr", "hi": "hi", "ja": "ja", "zh": "zh", "pt": "pt"}

_CHARACTERS = {"zh": (7, 34), "ja": (10, 45)}
_CHARACTERS_ELSEWHERE = (25, 110)
_FOREIGN = {
    "zh": re.compile(r"[^\u4e00-\u9fff，。！？、；：]"),
    "ja": re.compile(r"[^\u3040-\u30ff\u4e00-\u9fff、。！？ー]"),
    "hi": re.compile(r"[^\u0900-\u097f ,.?!;:'’-]"),
}
_FOREIGN_ELSEWHERE = re.compile(r"[^A-Za-zÀ-ÖØ-öø-ÿœŒ ,.?!;:'’¿¡-]")
_ENDS = re.compile(r"(?<=[.!?。！？;；])\s*")
_ESCAPES = re.compile(r"\x1b?\[\d*m")


@dataclass(frozen=True)
class Sentence:
    """One line of the corpus."""

    key: str
    language: str
    text: str
    phonemes: str
    split: str


def split_of(text: str) -> str:
    """``train`` or ``eval``, by the text alone, so that it never changes between runs."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    return "eval" if number % 100 < EVALUATION_PERCENT else "train"


def _fortune_sentences(text: str, language: str) -> Iterator[str]:
    for cookie in re.split(r"^%.*$", _ESCAPES.sub("", text), flags=re.MULTILINE):
        lines = [
            line
            for line in cookie.splitlines()
            if not re.match(r"\s*(--|作者|题目|《)|[^。，]*[》:：]$", line)
        ]
        body = ("" if language == "zh" else " ").join(line.strip() for line in lines)
        body = re.sub(r"[\"“”«»()*_]", "", body)
        if language == "it":  # typewriter accents
            for plain, accented in zip("aeiou", "àèìòù", strict=True):
                body = re.sub(rf"(?<=\w){plain}'(?=[\s,.;:!?]|$)", accented, body)
                body = re.sub(r"\be'(?=[\s,.;:!?]|$)", "è", body)
        if language == "zh":
            # Couplets of classical poems, two lines each, are the right length.
            yield from re.findall(r"[^。！？；]+[。！？；]", body)
        else:
            yield from (re.sub(r"\s+", " ", part).strip() for part in _ENDS.split(body))


def _locale_phrases(folder: Path, locale: str) -> list[str]:
    phrases: set[str] = set()
    for part in ("annotations", "annotationsDerived"):
        tree = ElementTree.parse(folder / part / f"{locale}.xml")  # noqa: S314 - a distribution file
        for node in tree.iter("annotation"):
            phrases.update(phrase.strip() for phrase in (node.text or "").split("|"))
    # Phrases with a colon are skin tones and flags: hundreds of copies of a few words.
    return sorted(phrase for phrase in phrases if len(phrase) > 1 and ":" not in phrase)


def _lists_of(phrases: list[str], language: str, rng: np.random.Generator) -> Iterator[str]:
    """Random enumerations of phrases, about as long as a sentence."""
    comma, stop = {"zh": ("，", "。"), "ja": ("、", "。")}.get(language, (", ", "."))
    low, high = _CHARACTERS.get(language, _CHARACTERS_ELSEWHERE)
    for _ in range(8):
        wanted = 0
        parts: list[str] = []
        for index in rng.permutation(len(phrases)):
            if not parts:
                wanted = int(rng.integers(low + 5, max(low + 6, int(0.8 * high))))
            parts.append(phrases[int(index)])
            if sum(map(len, parts)) + len(parts) * len(comma) >= wanted:
                yield comma.join(parts) + stop
                parts = []


def _usable(texts: Iterable[str], language: str) -> Iterator[str]:
    low, high = _CHARACTERS.get(language, _CHARACTERS_ELSEWHERE)
    foreign = _FOREIGN.get(language, _FOREIGN_ELSEWHERE)
    seen = set()
    for text in texts:
        if low <= len(text) <= high and text not in seen and not foreign.search(text):
            seen.add(text)
            yield text


def _texts(share: Path, language: str, rng: np.random.Generator) -> list[str]:
    texts: list[str] = []
    for pattern in _FORTUNES.get(language, []):
        for path in sorted((share / "games/fortunes").glob(pattern)):
            if path.is_file() and path.suffix not in {".dat", ".u8"}:
                raw = path.read_text("utf-8", errors="ignore")
                texts.extend(_usable(_fortune_sentences(raw, language), language))
    if language in _LOCALES:
        folder = share / "unicode/cldr/common"
        phrases = list(_locale_phrases(folder, _LOCALES[language]))
        texts.extend(_usable(_lists_of(phrases, language, rng), language))
    return list(dict.fromkeys(texts))


def build(
    share: Path, vocabulary: dict[str, int], languages: Iterable[str], limit: int, seed: int
) -> Iterator[Sentence]:
    """Sentences with phonemes, at most ``limit`` a language, in a seeded random order.

    Args:
        share: the ``usr/share`` folder of the unpacked text packages.
        vocabulary: the generator's phoneme letters.
        languages: names of :data:`training.data.phonemes.LANGUAGES`.
        limit: sentences a language.
        seed: order of the sentences.
    """
    for language in languages:
        rng = np.random.default_rng([seed, *language.encode()])
        texts = _texts(share, language, rng)
        kept = 0
        for index in rng.permutation(len(texts)):
            text = texts[int(index)]
            letters = phonemes(text, language)
            if not MIN_TOKENS <= len(tokens(letters, vocabulary)) <= MAX_TOKENS:
                continue
            yield Sentence(f"{language}-{kept:05d}", language, text, letters, split_of(text))
            kept += 1
            if kept == limit:
                break


def save(sentences: Iterable[Sentence], path: Path) -> dict[str, int]:
    """Write one JSON object a line; returns the sentences a language."""
    counts: dict[str, int] = {}
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8") as file:
        for sentence in sentences:
            file.write(json.dumps(asdict(sentence), ensure_ascii=False) + "\n")
            counts[sentence.language] = counts.get(sentence.language, 0) + 1
    partial.replace(path)
    return counts


def load(path: Path) -> list[Sentence]:
    """The sentences written by :func:`save`."""
    with path.open(encoding="utf-8") as file:
        return [Sentence(**json.loads(line)) for line in file]
