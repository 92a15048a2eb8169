"""Rendering: how a `generate` step asks a model for media: pictures, sounds or videos of the row's prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from raygen.steps.generate import Generate


class Rendering:
    """Asks for a row's media and takes them into its story.

    Args:
        config: of the step, with `render`.
        name: of the step.
        run_seed: that its samples' seeds are derived from.
        prompt: its template.
        most_bytes: a larger sample fails its row.
    """

    def __init__(
        self, config: Generate, name: str, run_seed: int, prompt: Template | None, most_bytes: int
    ) -> None:
        self._config, self._name, self._run_seed = config, name, run_seed
        self._prompt, self._most_bytes = prompt, most_bytes

    def request(
        self, row_id: str, row: Mapping[str, Any], adapter: str | None, attempt: int = 0
    ) -> RenderRequest:
        """Build the row's request. Raises RowError."""
        config = self._config
        seeds = [seed_of(self._run_seed, row_id, n, attempt, self._name) for n in range(config.samples)]
        media = [
            Media(data, picture_type(data, column))
            for column in config.images
            for data in pictures_in(row.get(column), column)
        ]
        return RenderRequest(
            row_id,
            config.render or RenderSettings(),
            seeds,
            self._prompt.render(row) if self._prompt is not None else None,
            media=media,
            adapter=adapter,
        )

    async def run(self, story: Story, calls: Calls, adapter: str | None) -> None:
        """Ask, and look at what comes. Raises RowError `media_too_large`."""
        request = self.request(story.row_id, story.names(), adapter, story.attempt)
        key, result = await calls.render(self._config.model, request)
        for sample in result.samples:
            if len(sample.media) > self._most_bytes:
                raise RowError(
                    "media_too_large",
                    f"a sample of {len(sample.media):,} bytes; sink.max_sample_bytes allows {self._most_bytes:,}",
                )
        for index, (seed, sample) in enumerate(zip(request.seeds, result.samples, strict=True)):
            draft = story.draft(self._name, key, index, seed, sample, result.prompt_tokens)
            detail = f"adapter {adapter}" if adapter else None
            story.decide(self._name, "generated", draft, detail=detail, model=self._config.model)
            if (fault := media_fault_of(sample)) is not None:
                story.reject(draft, self._name, *fault)
