"""A job's model references, resolved once by the driver and found again on each node."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path
from typing import Any

from raygen.config.model import ModelSpec
from raygen.config.source import StorageOptions
from raygen.engines import engine_facts
from raygen.errors import ConfigError, EngineError, ModelReferenceError
from raygen.extras import require
from raygen.models.resolved import ResolvedAdapter, ResolvedModel
from raygen.program.job import Job
from raygen.runs.plan import Plan


def resolve_models(job: Job) -> dict[str, ResolvedModel]:
    """Resolve every reference of a job.

    Raises:
        ModelReferenceError: one does not resolve, naming the model.
        ConfigError: a step counts on a class that its classifier does not have, naming the step.
    """
    found = {name: resolve_model(name, spec, job.source.storage) for name, spec in job.models.items()}
    _check_labels(job, found)
    return found


def resolve_model(name: str, spec: ModelSpec, storage: StorageOptions) -> ResolvedModel:
    """Resolve one model's references. Raises ModelReferenceError, naming the model."""
    if not engine_facts(spec.engine).has_weights:
        return ResolvedModel(name, spec, None, f"{spec.engine}:{spec.ref or '-'}")
    require("local", f"models.{name}: engine {spec.engine!r}")
    from raygen.models.fetch.reference import resolve
    from raygen.models.text.quantised import check_quantised

    try:
        weights = resolve(spec.ref or "", storage)
    except ModelReferenceError as error:
        raise ModelReferenceError(f"models.{name}.ref: {error}") from None
    if not (weights.path / "config.json").is_file():
        raise ModelReferenceError(
            f"models.{name}.ref: {spec.ref} is a LoRA adapter; its model is a `ref`, itself one of `adapters`"
        )
    if not engine_facts(spec.engine).takes_quantised:
        more = ", a GGUF file, or engine `vllm`" if spec.family == "causal_lm" else ""
        check_quantised(weights.path, f"models.{name}.ref: {spec.ref}", more)
    adapters = {
        each: resolve_adapter(ref, f"models.{name}.adapters.{each}", storage)
        for each, ref in spec.adapters.items()
    }
    return ResolvedModel(name, spec, str(weights.path), weights.digest, adapters)


def _check_labels(job: Job, models: dict[str, ResolvedModel]) -> None:
    for number, step in enumerate(job.steps):
        for key, model, label in step.kind.labels(step.config):
            known = engine_facts(models[model].spec.engine).labels(models[model])
            if known is not None and label not in known:
                near = difflib.get_close_matches(label, known, 1, 0.5)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise ConfigError(
                    f"steps.{number}.{step.verb}.{key}: model {model!r} has no class {label!r}{hint}; "
                    f"classes: {', '.join(known)}"
                )


def resolve_adapter(ref: str, where: str, storage: StorageOptions) -> ResolvedAdapter:
    """Resolve an adapter's reference. Raises ModelReferenceError, naming `where`."""
    from raygen.models.fetch.reference import resolve

    try:
        found = resolve(ref, storage)
    except ModelReferenceError as error:
        raise ModelReferenceError(f"{where}: {error}") from None
    if not (found.path / "adapter_config.json").is_file():
        raise ModelReferenceError(f"{where}: {ref} is no LoRA adapter: it has no adapter_config.json")
    return ResolvedAdapter(ref, str(found.path), found.digest)


def resolve_further_adapter(model: str, name: str, ref: str, storage: StorageOptions) -> ResolvedAdapter:
    """Resolve an adapter that a model gets while it is served. Raises ModelReferenceError, naming both."""
    return resolve_adapter(ref, f"adapter {name!r} of model {model!r}", storage)


def pinned(models: dict[str, ResolvedModel]) -> dict[str, dict[str, Any]]:
    """Return what a plan keeps of its models."""
    return {
        name: {
            "ref": model.spec.ref,
            "digest": model.digest,
            **({"date": model.date} if model.date is not None and not model.former else {}),
            **({"adapters": {n: a.digest for n, a in model.adapters.items()}} if model.adapters else {}),
        }
        for name, model in models.items()
    }


def dated(models: dict[str, ResolvedModel], date: str, former: bool = False) -> dict[str, ResolvedModel]:
    """Set the clocks of the chat templates that ask for the time.

    Args:
        date: `2026-11-30`.
        former: was the run planned before dates were pinned?
    """
    from raygen.models.text.chat_template import reads_clock

    def asks(model: ResolvedModel) -> bool:
        templated = engine_facts(model.spec.engine).templated
        return templated and model.path is not None and reads_clock(Path(model.path))

    return {
        name: replace(model, date=date if asks(model) else None, former=former)
        for name, model in models.items()
    }


def as_planned(models: dict[str, ResolvedModel], plan: Plan) -> dict[str, ResolvedModel]:
    """Return the models as a run's plan has them: their clocks show its date."""
    return dated(models, plan.day, former=plan.date is None)


def identity_of(model: ResolvedModel, deciding: frozenset[str]) -> dict[str, Any]:
    """Return what decides a model's answers to a request: for the keys of calls.

    Args:
        deciding: names of the engine's options that do.
    """
    options = {key: value for key, value in model.spec.options.items() if key in deciding}
    return {
        "engine": model.spec.engine,
        "family": model.spec.family,
        "digest": model.digest,
        "dtype": model.spec.dtype,
        "adapters": {name: adapter.digest for name, adapter in model.adapters.items()},
        "options": options,
        **({} if model.spec.tags is None else {"reasoning_tags": model.spec.tags}),
        **({"date": model.date} if model.date is not None and not model.former else {}),
    }


def on_this_node(model: ResolvedModel, storage: StorageOptions) -> ResolvedModel:
    """Find the weights here: another node than the driver's resolves the reference itself, and must find the same.

    Raises:
        EngineError: they are not to be had here, or are other weights.
    """
    if model.path is None:
        return model
    path = _path_here(model.spec.ref or "", model.path, model.digest, f"model {model.name!r}", storage)
    adapters = {
        name: replace(
            each,
            path=_path_here(
                each.ref, each.path, each.digest, f"adapter {name!r} of model {model.name!r}", storage
            ),
        )
        for name, each in model.adapters.items()
    }
    return replace(model, path=path, adapters=adapters)


def _path_here(ref: str, path: str, digest: str, what: str, storage: StorageOptions) -> str:
    if Path(path).is_dir():
        return path
    from raygen.models.fetch.reference import resolve

    try:
        weights = resolve(ref, storage)
    except ModelReferenceError as error:
        raise EngineError(f"{what} on this node: {error}") from None
    if weights.digest != digest:
        raise EngineError(f"{what}: this node finds weights {weights.digest[:19]}, not {digest[:19]}")
    return str(weights.path)
