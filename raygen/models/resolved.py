"""Resolved models: references of a job after they were resolved, once, by the driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from raygen.config.model import ModelSpec


@dataclass(slots=True, frozen=True)
class ResolvedAdapter:
    """A LoRA adapter's reference after it was resolved."""

    ref: str
    path: str
    digest: str  # sha256 of its files


@dataclass(slots=True, frozen=True)
class ResolvedModel:
    """A model reference after it was resolved, once, by the driver."""

    name: str  # the job's name for it
    spec: ModelSpec
    path: str | None  # local directory with safetensors and tokenizer; None for engines without weights
    digest: str  # sha256 of the weights, or a name for what has none
    adapters: Mapping[str, ResolvedAdapter] = field(default_factory=dict)  # by the job's name for it
    date: str | None = None  # that the clock of its chat template shows, if the template asks for it
    former: bool = False  # of a run that was planned before dates were: its calls are named as they were then
