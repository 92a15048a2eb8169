"""A job's model references, resolved once by the driver and found again on each node."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from raygen.config import Job
from raygen.engines import engine_class
from raygen.engines.base import ResolvedModel
from raygen.errors import EngineError, ModelReferenceError


def resolve_models(job: Job) -> dict[str, ResolvedModel]:
    """Resolve every reference of a job. Raises ModelReferenceError, naming the model."""
    found = {}
    for name, spec in job.models.items():
        if not engine_class(spec.engine).has_weights:
            found[name] = ResolvedModel(name, spec, None, f"{spec.engine}:{spec.ref or '-'}")
            continue
        from raygen.models.reference import resolve

        try:
            weights = resolve(spec.ref or "", job.source.storage)
        except ModelReferenceError as error:
            raise ModelReferenceError(f"models.{name}.ref: {error}") from None
        found[name] = ResolvedModel(name, spec, str(weights.path), weights.digest)
    return found


def pinned(models: dict[str, ResolvedModel]) -> dict[str, dict[str, Any]]:
    """What a plan keeps of its models."""
    return {name: {"ref": model.spec.ref, "digest": model.digest} for name, model in models.items()}


def on_this_node(model: ResolvedModel, job: Job) -> ResolvedModel:
    """Find the weights here: another node than the driver's resolves the reference itself, and must find the same.

    Raises:
        EngineError: they are not to be had here, or are other weights.
    """
    if model.path is None or Path(model.path).is_dir():
        return model
    from raygen.models.reference import resolve

    try:
        weights = resolve(model.spec.ref or "", job.source.storage)
    except ModelReferenceError as error:
        raise EngineError(f"model {model.name!r} on this node: {error}") from None
    if weights.digest != model.digest:
        raise EngineError(
            f"model {model.name!r}: this node finds weights {weights.digest[:19]}, the run has {model.digest[:19]}"
        )
    return replace(model, path=str(weights.path))
