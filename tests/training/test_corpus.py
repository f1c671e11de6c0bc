# ruff: noqa: RUF001 - IPA letters are meant
from __future__ import annotations

from pathlib import Path

import pytest

from training.data import corpus
from training.data.phonemes import PhonemeError, phonemes, rewrite, tokens

ENGLISH = """The evening sun went down behind the quiet hills.
\t\t-- Nobody
%
Short one.
%
Numbers like 42 are left out of the corpus on purpose here.
%
A second sentence that is long enough. A third sentence that is long enough, too.
"""

ANNOTATIONS = """<?xml version="1.0" encoding="UTF-8" ?>
<ldml><annotations>
<annotation cp="a">lune qui brille | grande maison bleue</annotation>
<annotation cp="b" type="tts">peau: mate</annotation>
</annotations></ldml>"""


@pytest.fixture
def share(tmp_path: Path) -> Path:
    fortunes = tmp_path / "games/fortunes"
    fortunes.mkdir(parents=True)
    (fortunes / "wisdom").write_text(ENGLISH)
    for part in ("annotations", "annotationsDerived"):
        folder = tmp_path / "unicode/cldr/common" / part
        folder.mkdir(parents=True)
        (folder / "fr.xml").write_text(ANNOTATIONS)
    return tmp_path


@pytest.fixture
def spelled(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A vocabulary of letters, and a front end that spells."""
    monkeypatch.setattr(corpus, "phonemes", lambda text, _language: text.lower())
    return {letter: number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz ", 1)}


def test_fortunes_become_sentences_of_a_fair_length(share: Path, spelled: dict[str, int]) -> None:
    texts = {sentence.text for sentence in corpus.build(share, spelled, ["en-us"], 99, 1)}
    assert texts == {
        "The evening sun went down behind the quiet hills.",
        "A second sentence that is long enough.",
        "A third sentence that is long enough, too.",
    }


def test_locale_phrases_become_lists_without_skin_tones(
    share: Path, spelled: dict[str, int]
) -> None:
    texts = [sentence.text for sentence in corpus.build(share, spelled, ["fr"], 99, 1)]
    assert texts
    assert all("lune qui brille" in text or "grande maison" in text for text in texts)
    assert not any("peau" in text for text in texts)


def test_order_depends_on_the_seed_alone_and_the_limit_holds(
    share: Path, spelled: dict[str, int]
) -> None:
    first = list(corpus.build(share, spelled, ["en-us"], 2, 7))
    assert len(first) == 2
    assert first == list(corpus.build(share, spelled, ["en-us"], 2, 7))


def test_split_is_a_property_of_the_text() -> None:
    splits = [corpus.split_of(f"sentence {number}") for number in range(4000)]
    assert 0.02 < splits.count("eval") / len(splits) < 0.06
    assert corpus.split_of("sentence 1") == splits[1]


def test_corpus_survives_the_disk(share: Path, spelled: dict[str, int], tmp_path: Path) -> None:
    sentences = list(corpus.build(share, spelled, ["en-us"], 99, 1))
    counts = corpus.save(sentences, tmp_path / "corpus.jsonl")
    assert counts == {"en-us": 3}
    assert corpus.load(tmp_path / "corpus.jsonl") == sentences


@pytest.mark.parametrize(
    ("ipa", "language", "letters"),
    [
        ("ʃˈa^ʊt", "en-us", "ʃˈWt"),
        ("ɡˈo^ʊ(^h^i)", "en-us", "ɡˈO"),
        ("ʤˈuːn", "en-us", "ʤˈun"),
        ("pˈaːt", "fr", "pˈaːt"),
        ("ɡˈoːɾ.i", "hi", "ɡˈoːɽi"),
        ("t^sˈaɾo", "it", "ʦˈaɾo"),
    ],
)
def test_ipa_is_rewritten_in_the_generators_letters(ipa: str, language: str, letters: str) -> None:
    assert rewrite(ipa, language) == letters


def test_tokens_are_framed_and_unknown_letters_dropped() -> None:
    assert tokens("a?b", {"a": 3, "b": 5}) == [0, 3, 5, 0]


def test_unknown_language_is_named() -> None:
    with pytest.raises(PhonemeError, match="'xx'"):
        phonemes("a", "xx")
