"""Checks of a job that see engines and steps: whether its models fit their engines, and its steps each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from raygen.config.files import explain
from raygen.config.model import ModelSpec
from raygen.engines import answering, engine_facts
from raygen.engines.requests import VERBS
from raygen.models.families import family_of
from raygen.steps.context import Context
from raygen.steps.spec import step_names

if TYPE_CHECKING:
    from raygen.steps.base import Step


def check_model(spec: ModelSpec) -> ModelSpec:
    """Refuse what a model's engine does not take. Raises ValueError, for pydantic to say where."""
    engine = engine_facts(spec.engine)
    if spec.family not in engine.families:
        family = family_of(spec.family)
        taken = ", ".join(sorted(engine.families))
        others = f"; {spec.family!r} is loaded by {', '.join(family.engines)}" if family.engines else ""
        raise ValueError(
            f"engine {spec.engine!r} takes models of family {taken}, not {spec.family!r}{others}"
        )
    if spec.tags is not None and spec.family != "causal_lm":
        raise ValueError(f"reasoning_tags: only of models that write; this one is a {spec.family}")
    if spec.tags is not None and (not all(map(str.strip, spec.tags)) or spec.tags[0] == spec.tags[1]):
        raise ValueError("reasoning_tags: [opening, closing], two texts that differ; or true")
    if spec.adapters and not engine.takes_adapters:
        raise ValueError(f"engine {spec.engine!r} takes no adapters")
    if engine.needs_ref and not spec.ref:
        raise ValueError(f"engine {spec.engine!r} needs a `ref`")
    if engine.has_weights and not spec.ref:
        raise ValueError(
            f"engine {spec.engine!r} has weights, so the model needs a `ref`; an engine without says `has_weights = False`"
        )
    try:
        engine.Options.model_validate(spec.options)
    except ValidationError as error:
        raise ValueError(f"options of engine {spec.engine!r}: {explain(error, engine.Options)}") from None
    return spec


def check_steps(context: Context) -> None:
    """Refuse what the steps of a job cannot do together. Raises ValueError, naming the step."""
    names = step_names(context.steps)
    # Scores that every sample has, and those of them that were given since the last generate or refine.
    scores: set[str] = set()
    new: set[str] = set()
    # Whether there is a sample, and whether a check came after the last generate or refine.
    begun = False
    checked = False
    media: str | None = None  # the step that made the samples at hand, if they are no texts
    for number, step in enumerate(context.steps):
        where = f"steps.{number}.{step.verb}"
        kind: type[Step] = step.kind
        begun = begun or kind.begins
        if kind.needs_samples and not begun:
            raise ValueError(f"{where}: there is no sample yet; a `generate` has to stand before it")
        if kind.begins:
            media = where if kind.makes_media(step.config) else None
        elif media is not None and kind.needs_samples and not kind.takes_media(step.config):
            raise ValueError(f"{where}: it works on texts, and what {media} renders is none; leave it out")
        for key, model, verb in kind.models(step.config):
            _check_used(context, f"{where}.{key}", model, verb)
        if kind.mends and not checked:
            raise ValueError(
                f"{where}: no `verify` stands between it and the samples; it would have nothing to mend"
            )
        # What a `generate` asks of a text is a check of its own.
        checked = kind.checks(step.config) or (checked and not kind.begins and not kind.mends)
        # What a refine mends gets the new scores again, and no older ones.
        if kind.begins or kind.mends:
            scores, new = set(new) if kind.mends else set(), set()
        kind.check(step.config, where, context, number, frozenset(scores))
        given = kind.scores(step.config, names[number])
        scores, new = scores | given, new | given
    if not begun:
        raise ValueError("steps: there is no `generate` among them; a row's outcome is made of its samples")


def _check_used(context: Context, where: str, name: str, verb: str) -> None:
    """Refuse a model that does not answer what a step asks. Raises ValueError."""
    if name not in context.models:
        raise ValueError(f"{where}: no model {name!r}; models: {', '.join(context.models)}")
    spec = context.models[name]
    if verb not in engine_facts(spec.engine).families[spec.family]:
        raise ValueError(
            f"{where}: {name!r} is of family {spec.family!r}, which {VERBS[verb]} on engine {spec.engine!r}; "
            f"what does: {answering(verb)}"
        )
