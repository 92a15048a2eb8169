"""Matches: does a pattern occur in the sample?"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, field_validator

from raygen.config.base import Frozen, pattern_of
from raygen.steps.base import Step
from raygen.steps.checks import Check, Verdict
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.tools.patterns import Pattern


class Matches(Frozen):
    """Does a pattern occur in the sample?"""

    pattern: str = Field(description="a regular expression, looked for anywhere in the sample")
    wanted: bool = Field(True, description="false: the sample must not have it")

    _compiles = field_validator("pattern")(pattern_of)


class MatchesCheck(Check):
    """Looks for a pattern in every sample, for a bounded time."""

    reason = "pattern"
    scored = False

    Config = Matches

    config: Matches

    def __init__(self, config: Matches, step: Step) -> None:
        super().__init__(config, step)
        self._pattern = Pattern(config.pattern)

    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        wanted = self.config.wanted
        missing = "is missing" if wanted else "must not be there"
        finding = f"what matches the pattern {self.config.pattern} {missing}"
        passed = [self._pattern.occurs_in(draft.text) == wanted for draft in drafts]
        return [Verdict(each, None if each else finding) for each in passed]
