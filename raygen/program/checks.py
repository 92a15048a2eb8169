"""Checks of a job that see engines and steps: whether its models fit their engines."""

from __future__ import annotations

from pydantic import ValidationError

from raygen.config.files import explain
from raygen.config.model import ModelSpec
from raygen.engines import engine_class


def check_model(spec: ModelSpec) -> ModelSpec:
    """Refuse what a model's engine does not take. Raises ValueError, for pydantic to say where."""
    engine = engine_class(spec.engine)
    if spec.family not in engine.families:
        taken = ", ".join(sorted(engine.families))
        raise ValueError(f"engine {spec.engine!r} takes models of family {taken}, not {spec.family!r}")
    if spec.tags is not None and spec.family != "causal_lm":
        raise ValueError(f"reasoning_tags: only of models that write; this one is a {spec.family}")
    if spec.tags is not None and (not all(map(str.strip, spec.tags)) or spec.tags[0] == spec.tags[1]):
        raise ValueError("reasoning_tags: [opening, closing], two texts that differ; or true")
    if spec.adapters and not engine.takes_adapters:
        raise ValueError(f"engine {spec.engine!r} takes no adapters")
    if engine.needs_ref and not spec.ref:
        raise ValueError(f"engine {spec.engine!r} needs a `ref`")
    try:
        engine.Options.model_validate(spec.options)
    except ValidationError as error:
        raise ValueError(f"options of engine {spec.engine!r}: {explain(error, engine.Options)}") from None
    return spec
