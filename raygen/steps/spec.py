"""Step: one verb of a job, as it is described: `generate`, `verify`, or another package's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from raygen.config.base import Name
from raygen.config.one_of import OneOf
from raygen.steps import STEPS


class Step(OneOf):
    """One verb applied to a row."""

    registry = STEPS

    name: Name | None = Field(
        None, description="unset: the verb, numbered from its second step on: verify, verify-2"
    )

    @property
    def verb(self) -> str:
        """The key in the job: `generate`, or `package.module:Class`."""
        return self.chosen


def step_names(steps: Sequence[Step]) -> list[str]:
    """Return the name of every step: its own, or its verb, numbered from the verb's second step on.

    The verb of a step that is named in full, `package.module:Class`, is its class.

    Raises:
        ValueError: two steps of one name.
    """
    verbs: Counter[str] = Counter()
    names = []
    for step in steps:
        verb = step.verb.rpartition(":")[2]
        verbs[verb] += 1
        usual = verb if verbs[verb] == 1 else f"{verb}-{verbs[verb]}"
        names.append(step.name or usual)
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ValueError(f"steps.{number}.name: another step is called {name!r}; name one of them")
    return names
