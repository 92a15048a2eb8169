"""Similarity: the cosine of the sample's vector and a text's, by an embedder; -1 to 1, higher is nearer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import Field

from raygen.config.base import Frozen
from raygen.steps.base import Step
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.scores import Scorer
from raygen.steps.tools.farthest import unit_rows


class Similarity(Frozen):
    """How near in meaning is the sample to a text? The cosine of their vectors, by an embedder."""

    model: str = Field(description="the job's name of an embedder")
    to: str = Field(description="a template")
    text: str = Field("{{ sample }}", description="a template; `sample` and `answer` are the sample's")


class SimilarityScorer(Scorer):
    """Embeds each text once a row, however many samples it is compared with."""

    Config = Similarity

    config: Similarity

    def __init__(self, config: Similarity, step: Step) -> None:
        super().__init__(config, step)
        self.model = config.model
        self._to = self.template(config.to, "to")
        self._text = self.template(config.text, "text")

    @classmethod
    def models(cls, config: Similarity) -> Iterable[tuple[str, str, str]]:
        yield "model", config.model, "embed"

    async def scores(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[float]:
        pairs = [
            (self._text.render(names), self._to.render(names))
            for names in (story.names(draft) for draft in drafts)
        ]
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))  # each is computed once
        unit_ND = unit_rows(await calls.embed(self.config.model, story.row_id, texts))
        rows = dict(zip(texts, unit_ND, strict=True))
        return [float(rows[text] @ rows[to]) for text, to in pairs]
