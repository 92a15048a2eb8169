"""Lessons: what of a recipe belongs to its family: what a row teaches, and how large a batch is in the family's unit.

A family names its `Objective` among its facts (raygen/models/families.py); that names its `Batch`. No torch is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from raygen.config.base import Frozen
from raygen.data.text.template import Template
from raygen.models.families import family_of, trained_families
from raygen.registry import imported


class Batch(Frozen):
    """How much is computed at once, in the family's unit. A family subclasses it and names its keys."""

    unit: ClassVar[str]  # what costs are counted in: tokens, pixels, ...
    STEP: ClassVar[str]  # key of what an optimizer step of all workers should cost
    BLOCK: ClassVar[str]  # key of what a block costs at most: it is computed at once by one worker
    LONGEST: ClassVar[str | None] = None  # key of what an example costs at most, or several packed together

    @property
    def step_cost(self) -> int:
        """What an optimizer step of all workers should cost."""
        return int(getattr(self, self.STEP))

    @property
    def block_cost(self) -> int:
        """What a block costs at most."""
        return int(getattr(self, self.BLOCK))

    @property
    def unit_cost(self) -> int:
        """What an example costs at most, or several that are packed together."""
        return int(getattr(self, self.LONGEST or self.BLOCK))

    @classmethod
    def preparing(cls) -> tuple[str, ...]:
        """Return the keys that decide the prepared blocks."""
        return tuple(key for key in (cls.BLOCK, cls.LONGEST) if key is not None)

    def remedy(self) -> str:
        """Return which keys to lower when memory runs out, in this order, with their values."""
        return ", then ".join(f"batch.{key} ({getattr(self, key)})" for key in self.preparing())


class Objective(Frozen):
    """What a row teaches. A family subclasses it with keys of its own."""

    Batch: ClassVar[type[Batch]]
    TEMPLATES: ClassVar[tuple[str, ...]] = ()  # keys that hold a template over the row
    COLUMNS: ClassVar[tuple[str, ...]] = ()  # keys that name a column, or several

    def templates(self) -> dict[str, Template]:
        """Return the templates by their keys. Raises ConfigError: one does not parse."""
        given = {name: text for name in self.TEMPLATES if (text := getattr(self, name)) is not None}
        return {name: Template(text, f"objective.{name}") for name, text in given.items()}

    def columns(self) -> dict[str, str]:
        """Return the columns that are read, each with the key that names it. Raises ConfigError: a broken template."""
        found: dict[str, str] = {}
        for template in self.templates().values():
            for column in sorted(template.columns):
                found.setdefault(column, template.where)
        for key in self.COLUMNS:
            named = getattr(self, key)
            for column in [named] if isinstance(named, str) else named if isinstance(named, tuple) else ():
                found.setdefault(column, f"objective.{key}")
        return found

    @property
    def label_column(self) -> str | None:
        """The column that holds classes; None for families without."""
        return None

    @property
    def given_labels(self) -> tuple[str, ...] | None:
        """The classes in order, where the recipe names them."""
        return None

    @property
    def writes_chats(self) -> bool:
        """Whether examples are written by the base's chat template, if it has one."""
        return False

    def note(self, columns: Mapping[str, Any]) -> str | None:
        """Return what is worth telling about a source with these columns, such as one that should be read and is not."""
        return None

    def identity(self) -> dict[str, Any]:
        """Return what decides the examples, as JSON."""
        return self.model_dump(mode="json")


def objective_class(family: str) -> type[Objective]:
    """Return what a family's recipes say of their lessons.

    Raises:
        ValueError: there is no such family, or it is not trained; says which are.
    """
    facts = family_of(family)
    if facts.objective is None or facts.trainer is None:
        raise ValueError(f"family {family!r} is not trained; allowed: {', '.join(trained_families())}")
    found: type[Objective] = imported(facts.objective, f"the objective of family {family!r}")
    return found
