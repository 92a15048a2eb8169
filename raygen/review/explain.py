"""Explain: the words behind verdicts of a run, when the weights that gave them can be had here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raygen.engines import engine_facts
from raygen.errors import RaygenError
from raygen.extras import require
from raygen.program.job import Job
from raygen.program.retell import Judged

if TYPE_CHECKING:
    from raygen.metrics.attribution import Attribution


def attributions(
    job: Job,
    pinned: Mapping[str, Mapping[str, Any]],
    judged: Sequence[Judged],
    most_bytes: int | None = None,
) -> tuple[list[Attribution | None], list[str]]:
    """Take verdicts apart into words.

    Args:
        pinned: the plan's `models`: only the same weights tell anything about a verdict.
        most_bytes: larger weights are left alone.

    Returns:
        One attribution a verdict, None where there is none; and why not, one line a model.
    """
    found: list[Attribution | None] = [None] * len(judged)
    notes = []
    for name in dict.fromkeys(each.model for each in judged):
        places = [place for place, each in enumerate(judged) if each.model == name]
        try:
            if (lack := _lack(job, name)) is not None:
                notes.append(f"model {name!r} {lack}")
                continue
            require("explain", "the attribution")
            made = _of_model(job, name, pinned, [judged[place] for place in places], most_bytes)
        except RaygenError as error:
            notes.append(f"model {name!r}: {error}")
            continue
        for place, each in zip(places, made, strict=True):
            found[place] = each
    return found, notes


def _lack(job: Job, name: str) -> str | None:
    """Say what is missing for an attribution, before anything heavy is imported."""
    spec = job.models[name]
    if not engine_facts(spec.engine).has_weights:
        return f"(engine {spec.engine!r}) has no weights to look into"
    return None


def _of_model(
    job: Job,
    name: str,
    pinned: Mapping[str, Mapping[str, Any]],
    judged: Sequence[Judged],
    most_bytes: int | None,
) -> list[Attribution | None]:
    from raygen.models.fetch.reference import resolve

    spec = job.models[name]
    weights = resolve(spec.ref or "", job.source.storage)
    if weights.digest != pinned.get(name, {}).get("digest"):
        raise RaygenError("its weights are not those of the run any more")
    size = sum(path.stat().st_size for path in weights.path.glob("*.safetensors"))
    if most_bytes is not None and size > most_bytes:
        raise RaygenError(f"its weights ({size / 1e9:.1f} GB) are too large to look into here")
    from raygen.metrics.attribution import Pair, attribute_pairs

    pairs = [Pair(each.premises, each.hypothesis, each.label) for each in judged]
    return list(attribute_pairs(weights.path, pairs, spec.options.get("max_tokens")))
