# ruff: noqa: RUF001 - IPA letters are meant
from __future__ import annotations

import numpy as np
import pytest

from training.phones import IGNORED, LEAD_S, SILENCE, Labeller

VOCABULARY = {".": 4, " ": 16, "a": 43, "k": 53, "s": 61, "ˈ": 156, "ː": 158, "ʰ": 162, "↘": 173}


@pytest.fixture
def labeller() -> Labeller:
    return Labeller(VOCABULARY)


def numbers(letters: str) -> list[int]:
    return [0, *(VOCABULARY[letter] for letter in letters), 0]


def test_only_letters_with_a_sound_are_classes(labeller: Labeller) -> None:
    assert labeller.names == ["silence", "a", "k", "s", "ʰ"]


def test_marks_join_the_sound_they_belong_to(labeller: Labeller) -> None:
    silence, a, k, s, breath = range(5)
    assert labeller.classes(numbers("kˈaːs")) == [silence, k, a, a, a, s, silence]
    assert labeller.classes(numbers("kʰa")) == [silence, k, breath, a, silence]


def test_spaces_are_silent_only_after_punctuation(labeller: Labeller) -> None:
    classes = labeller.classes(numbers("a a. a"))
    assert classes[2] == IGNORED
    assert classes[4:6] == [SILENCE, SILENCE]


def test_tones_carry_no_label(labeller: Labeller) -> None:
    assert labeller.classes(numbers("a↘"))[2] == IGNORED


def test_frames_lead_the_durations(labeller: Labeller) -> None:
    tokens, durations = numbers("ak"), [4, 2, 2, 4]
    times = np.array([0.0, 0.1 - LEAD_S - 0.001, 0.1 - LEAD_S + 0.001, 0.15 - LEAD_S + 0.001, 9.0])
    assert labeller.frames(tokens, durations, times).tolist() == [0, 0, 1, 2, 0]
