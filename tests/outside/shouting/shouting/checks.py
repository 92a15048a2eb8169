"""A check of another package: is a sample loud enough?"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from raygen import Calls, Check, Draft, Frozen, Story, Verdict


class Loud(Frozen):
    """How loud a sample has to be."""

    at_least: int = Field(1, ge=0, description="exclamation marks")


class LoudCheck(Check):
    """Counts exclamation marks."""

    reason = "too_quiet"

    Config = Loud

    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        return [self._verdict(draft.text.count("!")) for draft in drafts]

    def _verdict(self, marks: int) -> Verdict:
        wanted = self.config.at_least
        return Verdict(True) if marks >= wanted else Verdict(False, f"{marks} of {wanted} exclamation marks")
