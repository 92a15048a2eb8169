"""What decides a training's weights stays what it was: trainings that an earlier version began are found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from raygen.train.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "jobs" / "recipes"

# As the version before families had objectives of their own computed them (commit 3487b9c).
DIGESTS = {
    "grounding": "c0f539dce319c45cb5b43a66e28e42f548c44eb654e1768cd7ae52dd3bdd566f",
    "nli_wordnet": "cbf5d3587397613279f0fbf772c52d6a65be130ea4a1d5eed7431a0a36c33b01",
    "python_docs_lm": "5db167864a85d951e7a732b92626e0d7cbf922c10106fe06ee786d33ad9184af",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_recipes_of_the_version_before_have_the_same_identity(name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert recipe.digest() == DIGESTS[name]
    assert {"phases", "ema", "template", "date"}.isdisjoint(recipe.identity())


def test_what_is_set_of_the_new_keys_decides_weights() -> None:
    plain = load_recipe(RECIPES / "nli_wordnet.yaml")
    averaged = load_recipe(RECIPES / "nli_wordnet.yaml", ["ema.decay=0.99"])
    phased = load_recipe(RECIPES / "nli_wordnet.yaml", ["phases.model.schedule.kind=constant"])
    assert len({plain.digest(), averaged.digest(), phased.digest()}) == 3
