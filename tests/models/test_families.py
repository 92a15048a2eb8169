"""Families: their facts agree with the engines', and cost no import of torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from raygen.engines import ENGINES, engine_class
from raygen.engines.requests import VERBS
from raygen.models.families import FAMILIES, family_of, trained_families
from raygen.train.families.lessons import objective_class


@pytest.mark.parametrize("name", list(FAMILIES.own))
def test_a_family_names_the_engines_that_load_it_and_what_they_answer(name: str) -> None:
    family = family_of(name)
    kinds = {engine: engine_class(engine) for engine in ENGINES.own}
    loading = {engine for engine, kind in kinds.items() if name in kind.families}
    assert set(family.engines) == loading
    assert frozenset().union(*(kinds[engine].families[name] for engine in loading)) == family.verbs
    assert family.verbs <= set(VERBS)


def test_families_are_known_without_torch() -> None:
    code = (
        "import sys; from raygen.models.families import family_of; from raygen.train.recipe import Recipe; "
        "family_of('classifier'); sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_family_that_is_not_there_or_not_trained_is_named_with_those_that_are() -> None:
    with pytest.raises(
        ValueError, match="no family 'gan'; families: causal_lm, classifier, embedder, diffusion"
    ):
        family_of("gan")
    with pytest.raises(ValueError, match="'embedder' is not trained; allowed: causal_lm, classifier"):
        objective_class("embedder")
    assert trained_families() == ["causal_lm", "classifier"]
