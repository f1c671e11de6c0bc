# ruff: noqa: RUF001 - IPA letters are meant
"""Sentences to the phoneme letters that the speech generator was trained on.

Mandarin and Japanese go through ``misaki`` (the generator's own front end), every other language
through libespeak-ng, whose IPA is then rewritten with the generator's letters for diphthongs and
affricates.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping
from functools import cache

ESPEAK_VOICES: Mapping[str, str] = {
    "en-us": "en-us",
    "en-gb": "en",
    "es": "es",
    "fr": "fr",
    "hi": "hi",
    "it": "it",
    "pt": "pt-br",
}
"""Language of the corpus to the voice of espeak-ng."""

LANGUAGES = (*ESPEAK_VOICES, "ja", "zh")

MIN_TOKENS, MAX_TOKENS = 15, 140

_SYNCHRONOUS = 2
_UTF8 = 1
_IPA_TIED_BY_CARET = 0x02 | 0x80 | (ord("^") << 8)
_PUNCTUATION = re.compile(r"([,.;:!?…—]+)")

_ANY_LANGUAGE = {
    "a^ɪ": "I",
    "a^ʊ": "W",
    "d^z": "ʣ",
    "d^ʒ": "ʤ",
    "e^ɪ": "A",
    "o^ʊ": "O",
    "ə^ʊ": "Q",
    "t^s": "ʦ",
    "t^ʃ": "ʧ",
    "ɔ^ɪ": "Y",
    "r": "ɾ",
    "g": "ɡ",
}
_ENGLISH = {
    "ɜː": "ɜɹ",
    "ɚ": "əɹ",
    "ɐ": "ə",
    "e^ə": "ɛə",
    "r": "ɹ",
    "x": "k",
    "ç": "k",
    "ɬ": "l",
    "\u0303": "",
    "ː": "",
}
_ELSEWHERE = {"ɾ.": "ɽ"}


class PhonemeError(RuntimeError):
    """A front end is missing or does not know the language."""


@cache
def _espeak() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError as error:
        raise PhonemeError("libespeak-ng is missing: install the package espeak-ng") from error
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    if library.espeak_Initialize(_SYNCHRONOUS, 0, None, 0) < 0:
        raise PhonemeError("espeak-ng could not be started: is its data package installed?")
    return library


def _espeak_clause(text: str, voice: str) -> str:
    library = _espeak()
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise PhonemeError(f"espeak-ng has no voice {voice!r}")
    pointer = ctypes.c_char_p(text.encode())
    parts = []
    while pointer.value:
        ipa = library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, _IPA_TIED_BY_CARET)
        parts.append(ipa.decode())
    return " ".join(parts)


def rewrite(ipa: str, language: str) -> str:
    """The IPA of espeak-ng in the generator's letters."""
    ipa = re.sub(r"\([^)]*\)", "", ipa)  # marks where espeak-ng changes the language
    table = {**_ANY_LANGUAGE, **(_ENGLISH if language.startswith("en") else _ELSEWHERE)}
    for letters in sorted(table, key=len, reverse=True):
        ipa = ipa.replace(letters, table[letters])
    return ipa.replace("^", "").replace("-", "").replace("_", "")


def _espeak_sentence(text: str, language: str) -> str:
    pieces = []
    for piece in _PUNCTUATION.split(text):
        if _PUNCTUATION.fullmatch(piece):
            pieces.append(piece[0] + " ")
        elif piece.strip():
            pieces.append(rewrite(_espeak_clause(piece, ESPEAK_VOICES[language]), language))
    return "".join(pieces)


@cache
def _misaki(language: str) -> Callable[[str], str]:
    try:
        if language == "zh":
            from misaki.zh import ZHG2P

            mandarin = ZHG2P()
            return lambda text: str(mandarin(text)[0])
        from misaki.cutlet import Cutlet

        japanese = Cutlet()
        return lambda text: str(japanese(text)[0])
    except ImportError as error:
        raise PhonemeError(
            "misaki is missing: install training/requirements.txt for Mandarin and Japanese"
        ) from error


def phonemes(text: str, language: str) -> str:
    """Phoneme letters of one sentence.

    Raises:
        PhonemeError: unknown language, or its front end is not installed.
    """
    if language in ESPEAK_VOICES:
        letters = _espeak_sentence(text, language)
    elif language in LANGUAGES:
        letters = _misaki(language)(text)
    else:
        raise PhonemeError(f"unknown language {language!r}, expected one of {LANGUAGES}")
    return re.sub(r"\s+", " ", letters).strip()


def tokens(letters: str, vocabulary: Mapping[str, int]) -> list[int]:
    """Token numbers with 0 at both ends; letters that the generator does not know are left out."""
    return [0, *(vocabulary[letter] for letter in letters if letter in vocabulary), 0]
