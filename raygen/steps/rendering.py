"""Rendering: how a `generate` step asks a model for media: pictures, sounds or videos of the row's prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raygen.config.media import RenderSettings
from raygen.data.media.pictures import pictures_in
from raygen.data.text.template import Template
from raygen.engines.requests import Media, RenderRequest
from raygen.errors import RowError
from raygen.steps.row.calls import Calls
from raygen.steps.row.pictures import picture_type
from raygen.steps.row.seeds import seed_of
from raygen.steps.row.story import Story
from raygen.steps.row.usable import media_fault_of


@dataclass(frozen=True, slots=True)
class Rendering:
    """Asks for a row's media and takes them into its story.

    Args:
        name: the step's.
        run_seed: the run's, from which its samples' seeds are derived.
        model: the one that is asked.
        settings: how it renders.
        samples: how many a row.
        images: columns of pictures that go with the prompt.
        prompt: its template.
        most_bytes: a larger sample fails its row.
    """

    name: str
    run_seed: int
    model: str
    settings: RenderSettings
    samples: int
    images: Sequence[str]
    prompt: Template | None
    most_bytes: int

    def request(
        self, row_id: str, row: Mapping[str, Any], adapter: str | None, attempt: int = 0
    ) -> RenderRequest:
        """Build the row's request. Raises RowError."""
        seeds = [seed_of(self.run_seed, row_id, n, attempt, self.name) for n in range(self.samples)]
        media = [
            Media(data, picture_type(data, column))
            for column in self.images
            for data in pictures_in(row.get(column), column)
        ]
        return RenderRequest(
            row_id,
            self.settings,
            seeds,
            self.prompt.render(row) if self.prompt is not None else None,
            media=media,
            adapter=adapter,
        )

    async def run(self, story: Story, calls: Calls, adapter: str | None) -> None:
        """Ask, and look at what comes. Raises RowError `media_too_large`."""
        request = self.request(story.row_id, story.names(), adapter, story.attempt)
        key, result = await calls.render(self.model, request)
        for sample in result.samples:
            if len(sample.media) > self.most_bytes:
                raise RowError(
                    "media_too_large",
                    f"a sample of {len(sample.media):,} bytes; sink.max_sample_bytes allows {self.most_bytes:,}",
                )
        for index, (seed, sample) in enumerate(zip(request.seeds, result.samples, strict=True)):
            draft = story.draft(self.name, key, index, seed, sample, result.prompt_tokens)
            detail = f"adapter {adapter}" if adapter else None
            story.decide(self.name, "generated", draft, detail=detail, model=self.model)
            if (fault := media_fault_of(sample)) is not None:
                story.reject(draft, self.name, *fault)
