"""Matches: does a pattern occur in the sample?"""

from __future__ import annotations

from collections.abc import Sequence

from raygen.steps.base import Step
from raygen.steps.checks import Check, Verdict
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.spec import Matches
from raygen.steps.tools.patterns import Pattern


class MatchesCheck(Check):
    reason = "pattern"
    scored = False

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
