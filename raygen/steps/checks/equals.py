"""Equals: is the sample's answer the expected one?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Literal

from pydantic import Field

from raygen.config.base import Frozen
from raygen.steps.base import Step
from raygen.steps.checks import Check, Verdict
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story

_NUMBER = re.compile(r"[-+]?(?:\d[\d,]*)?\.?\d+(?:[eE][-+]?\d+)?")


class Equals(Frozen):
    """Is the sample's answer the expected one?"""

    expected: str = Field(description="a template")
    compare: Literal["text", "number"] = Field("text", description="text: but for case and white space")
    wanted: bool = Field(True, description="false: it must be another one")


class EqualsCheck(Check):
    """Compares a sample's answer, or its whole text if no answer was looked for, with the expected one."""

    reason = "wrong_answer"

    Config = Equals

    config: Equals

    def __init__(self, config: Equals, step: Step) -> None:
        super().__init__(config, step)
        self._expected = self.template(config.expected, "expected")

    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        found = []
        for draft in drafts:
            given = draft.answer if draft.answer is not None else draft.text
            expected = self._expected.render(story.names(draft))
            # The expected answer is not told: a model that is asked again would only repeat it.
            passed = _same(given, expected, self.config.compare) == self.config.wanted
            wrong = f"the answer {given.strip()!r} is {'wrong' if self.config.wanted else 'no other one'}"
            found.append(Verdict(passed, None if passed else wrong, float(passed)))
        return found


def _same(given: str, expected: str, compare: str) -> bool:
    if compare == "number":
        numbers = number_in(given), number_in(expected)
        return numbers[0] is not None and numbers[0] == numbers[1]
    return " ".join(given.split()).casefold() == " ".join(expected.split()).casefold()


def number_in(text: str) -> Decimal | None:
    """Return the last number of a text (`1,000` is a thousand), or None."""
    found = _NUMBER.findall(text)
    try:
        return Decimal(found[-1].replace(",", "")) if found else None
    except InvalidOperation:
        return None
