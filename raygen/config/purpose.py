"""Purpose: what a configuration file describes, and which command takes it: a job, a recipe or a service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raygen.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a file describes.

    Attributes:
        noun: what it is. command: what takes it. examples: where such files are.
    """

    noun: str
    command: str
    examples: str


JOB = Purpose("a job", "raygen run", "`raygen init` lists ready jobs, and jobs/ holds them")
RECIPE = Purpose(
    "a recipe", "raygen train", "`raygen init` lists ready recipes, and jobs/recipes/ holds them"
)
SERVICE = Purpose("a service", "raygen serve", "for services see serve_configs/ and docs/serving.md")


def purpose_of(value: Mapping[str, Any]) -> Purpose | None:
    """Return what a file describes, by keys that nothing else has; None: it cannot be told."""
    if "applications" in value:
        return SERVICE
    if "objective" in value or {"family", "base"} <= value.keys():
        return RECIPE
    if "steps" in value:
        return JOB
    return SERVICE if "models" in value and "source" not in value else None


def check_purpose(value: Mapping[str, Any], wanted: Purpose, where: str) -> None:
    """Refuse a file that is another command's: its keys would be called unknown, one by one. Raises ConfigError."""
    found = purpose_of(value)
    if found is not None and found is not wanted:
        raise ConfigError(
            f"{where}: this is {found.noun}, not {wanted.noun}; use it with: {found.command} {where} ({wanted.examples})"
        )
