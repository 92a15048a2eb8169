"""A step of another package: reject what is too loud."""

from __future__ import annotations

from pydantic import Field

from raygen import Calls, Frozen, Step, Story


class Hush(Frozen):
    """Reject samples that are too loud."""

    at_most: int = Field(description="exclamation marks")


class HushStep(Step):
    """Rejects samples with more exclamation marks than wanted."""

    Config = Hush

    async def run(self, story: Story, calls: Calls) -> None:
        for draft in story.accepted:
            if draft.text.count("!") > self.config.at_most:
                story.reject(
                    draft, self.name, "too_loud", f"more than {self.config.at_most} exclamation marks"
                )
            else:
                story.decide(self.name, "quiet", draft)
