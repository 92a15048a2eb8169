"""Families: the kinds of models by name, each with its facts: what it answers, which engines load it, how it is trained.

A family is a subclass of `Family` and a line in FAMILIES. This module is light: it imports no torch, so that a job or a
recipe is checked at once. Another package offers a family by an entry point of the group `raygen.families`, or is named in
full where it is used: `family: "their_package.module:Class"`.
"""

from __future__ import annotations

from typing import ClassVar

from raygen.registry import Registry


class Family:
    """The facts of a kind of models. Nothing is ever instantiated; places are written `module:Class` and imported when used."""

    # What a model of this family can answer; an engine may answer less of it.
    verbs: ClassVar[frozenset[str]] = frozenset()
    # raygen's engines that load it; the one to recommend comes first. Each engine says the same in its `families`.
    engines: ClassVar[tuple[str, ...]] = ()
    # How it learns: a raygen.train.families.base.Trainer. None: it is not trained here.
    trainer: ClassVar[str | None] = None
    # What a recipe says of its lessons: a raygen.train.families.lessons.Objective, imported without torch.
    objective: ClassVar[str | None] = None
    # How to use a trained model, where that is not a model of a job: a line with {model} in it.
    usage: ClassVar[str | None] = None


class CausalLM(Family):
    """Models that continue text."""

    verbs = frozenset({"generate", "likelihood"})
    engines = ("torch", "vllm", "openai", "echo")
    trainer = "raygen.train.families.causal_lm:CausalLMTrainer"
    objective = "raygen.train.families.text_lessons:CausalLMObjective"


class Classifier(Family):
    """Encoders with a head: the probability of each label, for a text or a pair of texts."""

    verbs = frozenset({"classify"})
    engines = ("encoder", "echo")
    trainer = "raygen.train.families.classifier:ClassifierTrainer"
    objective = "raygen.train.families.text_lessons:ClassifierObjective"
    usage = 'transformers.pipeline("text-classification", "{model}")'


class Embedder(Family):
    """Encoders whose vectors are near where texts mean alike."""

    verbs = frozenset({"embed"})
    engines = ("encoder", "echo")


class Diffusion(Family):
    """Models that render media out of noise. The engine `echo` stands in for one that computes."""

    verbs = frozenset({"render"})
    engines = ("echo",)


FAMILIES = Registry(
    "family",
    "raygen.families",
    {
        "causal_lm": "raygen.models.families:CausalLM",
        "classifier": "raygen.models.families:Classifier",
        "embedder": "raygen.models.families:Embedder",
        "diffusion": "raygen.models.families:Diffusion",
    },
    kind="raygen.models.families:Family",
)


def family_of(name: str) -> type[Family]:
    """Return a family's facts. Raises ValueError: there is none of that name; says which there are."""
    found: type[Family] = FAMILIES.load(name)
    return found


def trained_families() -> list[str]:
    """Return the names of raygen's own families that can be trained."""
    return [name for name in FAMILIES.own if family_of(name).trainer is not None]
