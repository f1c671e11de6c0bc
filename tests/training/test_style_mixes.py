from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.data.kokoro import ModelFilesError
from training.data.voices import Recipe, VoiceBank, native_recipe, random_recipe

NAMES = [f"{language}{sex}_{number}" for language in "abz" for sex in "fm" for number in range(3)]


@pytest.fixture
def bank(tmp_path: Path) -> VoiceBank:
    rng = np.random.default_rng(0)
    for name in NAMES:
        rng.standard_normal((20, 256)).astype(np.float32).tofile(tmp_path / f"{name}.bin")
    return VoiceBank.load(tmp_path)


def test_a_pure_voice_is_its_own_row(bank: VoiceBank) -> None:
    index = bank.names.index("bm_1")
    assert np.array_equal(bank.style(Recipe(("bm_1",)), 7), bank.styles[index, 7])


def test_mixing_keeps_the_distance_from_the_average_voice(bank: VoiceBank) -> None:
    names, weights = ("af_0", "bm_1", "zf_2"), (0.5, 0.3, 0.2)
    mean = bank.styles[:, 5].mean(0)
    distances = [np.linalg.norm(bank.styles[bank.names.index(n), 5] - mean) for n in names]
    mixed = bank.style(Recipe(names, weights, 1.1), 5)
    assert np.linalg.norm(mixed - mean) == pytest.approx(1.1 * np.dot(weights, distances), rel=1e-4)


def test_split_holds_out_both_sexes_and_never_changes(bank: VoiceBank) -> None:
    train, held_out = bank.split(4)
    assert sorted(train + held_out) == sorted(NAMES)
    assert [sum(name[1] == sex for name in held_out) for sex in "fm"] == [3, 3]
    assert bank.split(4) == (train, held_out)
    assert bank.split(5) != (train, held_out)


def test_recipes_use_the_given_names(bank: VoiceBank) -> None:
    rng = np.random.default_rng(1)
    train, _ = bank.split(1)
    recipes = [random_recipe(train, rng) for _ in range(200)]
    assert {name for recipe in recipes for name in recipe.names} == set(train)
    assert {len(recipe.names) for recipe in recipes} == {1, 2, 3}
    assert all(sum(recipe.weights) == pytest.approx(1, abs=1e-3) for recipe in recipes)


def test_native_recipe_prefers_the_language_and_falls_back(bank: VoiceBank) -> None:
    rng = np.random.default_rng(1)
    assert native_recipe(bank.names, "zh", rng).names[0].startswith("z")
    assert native_recipe(bank.names, "hi", rng).names[0] in NAMES


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelFilesError, match="fetch"):
        VoiceBank.load(tmp_path)
