"""Consistency: do claims contradict each other? By a classifier of sentence pairs, all pairs of a row in one batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Literal

from pydantic import Field, model_validator

from raygen.config.base import Frozen, Probability
from raygen.data.text.sentences import sentences_of
from raygen.errors import RowError
from raygen.steps.base import Step
from raygen.steps.checks import Check, Verdict
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.tools.excerpt import excerpt

QUOTED = 200  # characters of a claim in a finding
Pair = tuple[int, int]


class Consistency(Frozen):
    """Do claims contradict each other? By a classifier of sentence pairs, pair by pair.

    Of sentences: no two sentences of a sample may, and none may contradict a sentence of `against`. Of samples: a sample
    may not contradict most of the others.
    """

    model: str = Field(description="the job's name of a classifier of sentence pairs")
    of: Literal["sentences", "samples"] = Field(
        "sentences",
        description="what is compared: the sentences of each sample, or the samples with each other",
    )
    claim: str = Field("{{ sample }}", description="a template; `sample` and `answer` are the sample's")
    against: str | None = Field(
        None, description="a template: a text whose sentences came before, such as the story so far"
    )
    label: str = Field("contradiction", description="the model's name of the class that counts")
    threshold: Probability = Field(0.5, description="two contradict each other from this probability on")
    most_pairs: int = Field(
        256,
        ge=1,
        le=100_000,
        description="pairs looked at: of each sample, those of its newest sentences first; of samples, in all",
    )

    @model_validator(mode="after")
    def _fits(self) -> Consistency:
        if self.against is not None and self.of == "samples":
            raise ValueError("`against` goes with `of: sentences`; samples are compared with each other")
        return self


class ConsistencyCheck(Check):
    """A sample's score is 1 less the probability of its worst contradiction; of samples, 1 less the mean over the others."""

    reason = "inconsistent"

    Config = Consistency

    config: Consistency

    def __init__(self, config: Consistency, step: Step) -> None:
        super().__init__(config, step)
        self.model = config.model
        self._claim = self.template(config.claim, "claim")
        self._against = self.template(config.against, "against") if config.against is not None else None

    @classmethod
    def models(cls, config: Consistency) -> Iterable[tuple[str, str, str]]:
        yield "model", config.model, "classify"

    @classmethod
    def labels(cls, config: Consistency) -> Iterable[tuple[str, str, str]]:
        yield "label", config.model, config.label

    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        if self.config.of == "samples":
            return await self._among_samples(story, drafts, calls)
        return await self._within_samples(story, drafts, calls)

    async def _within_samples(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        texts: list[tuple[str, str]] = []
        counts: list[tuple[int, int]] = []  # pairs of each sample: looked at, and that there are
        for draft in drafts:
            names = story.names(draft)
            before = sentences_of(self._against.render(names)) if self._against is not None else []
            claims = [*before, *sentences_of(self._claim.render(names))]
            pairs = list(islice(newest_first(claims, len(before)), self.config.most_pairs))
            texts += [(claims[earlier], claims[later]) for earlier, later in pairs]
            new = len(claims) - len(before)
            counts.append((len(pairs), new * len(before) + new * (new - 1) // 2))
        chances = await self._chances(story, texts, calls)
        found, start = [], 0
        for looked_at, there_are in counts:
            part = slice(start, start + looked_at)
            found.append(self._verdict(texts[part], chances[part], there_are))
            start += looked_at
        return found

    def _verdict(self, pairs: Sequence[tuple[str, str]], chances: Sequence[float], there_are: int) -> Verdict:
        if not pairs:
            return Verdict(True, score=1.0)
        worst = max(range(len(pairs)), key=lambda number: chances[number])  # the first of equals
        chance = chances[worst]
        scores = {self.config.label: chance, "pairs": float(len(pairs))}
        if chance >= self.config.threshold:
            return Verdict(False, self._finding(*pairs[worst], chance), 1 - chance, scores)
        note = None
        if len(pairs) == self.config.most_pairs and len(pairs) < there_are:
            note = f"only the {len(pairs)} newest of {there_are} pairs of sentences were looked at"
        return Verdict(True, note, 1 - chance, scores)

    async def _among_samples(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        claims = [self._claim.render(story.names(draft)) for draft in drafts]
        pairs = ring(len(claims), self.config.most_pairs)
        texts = [(claims[earlier], claims[later]) for earlier, later in pairs]
        chances = await self._chances(story, texts, calls)
        return [
            self._verdict_among(
                [
                    (pair, chance)
                    for pair, numbers, chance in zip(texts, pairs, chances, strict=True)
                    if number in numbers
                ]
            )
            for number in range(len(drafts))
        ]

    def _verdict_among(self, compared: Sequence[tuple[tuple[str, str], float]]) -> Verdict:
        if not compared:
            return Verdict(True, score=1.0)
        against = [chance for _, chance in compared if chance >= self.config.threshold]
        score = 1 - sum(chance for _, chance in compared) / len(compared)
        pair, worst = max(compared, key=lambda each: each[1])
        scores = {
            self.config.label: worst,
            "others": float(len(compared)),
            "contradicted": float(len(against)),
        }
        if 2 * len(against) <= len(compared):
            return Verdict(True, None, score, scores)
        finding = f"{self._finding(*pair, worst)}; so do {len(against)} of the {len(compared)} other samples"
        return Verdict(False, finding, score, scores)

    def _finding(self, earlier: str, later: str, chance: float) -> str:
        return (
            f'"{excerpt(earlier, QUOTED)}" and "{excerpt(later, QUOTED)}" contradict each other '
            f"({self.config.label}: {chance:.0%})"
        )

    async def _chances(self, story: Story, texts: Sequence[tuple[str, str]], calls: Calls) -> list[float]:
        """Return each pair's probability of the label. A claim does not contradict itself: such pairs are not asked."""
        asked = [pair for pair in texts if pair[0] != pair[1]]
        found = await calls.classify(self.config.model, story.row_id, asked)
        label = self.config.label
        if found and label not in found[0]:
            raise RowError(
                "unknown_label",
                f"model {self.config.model!r} has no class {label!r}; classes: {', '.join(found[0])}",
            )
        answers = iter(found)
        return [next(answers)[label] if pair[0] != pair[1] else 0.0 for pair in texts]


def newest_first(claims: Sequence[str], before: int) -> Iterable[Pair]:
    """Yield pairs of claims by number, (earlier, later): all of the newest claim first, each time with the nearest first.

    Args:
        before: how many of the claims, the first ones, came before; they are not compared with each other.
    """
    for later in range(len(claims) - 1, before - 1, -1):
        for earlier in range(later - 1, -1, -1):
            yield earlier, later


def ring(count: int, most: int) -> list[Pair]:
    """Return pairs of `count` numbers, (lower, higher): about `most` at most, and about as many with each number.

    They stand in a ring, and are paired with the next one, then with the one after that. The first round is always whole,
    so that each is paired with its two neighbours at least.
    """
    if count < 2:
        return []
    rounds = count // 2
    found: list[Pair] = []
    for distance in range(1, rounds + 1):
        size = count // 2 if 2 * distance == count else count
        if found and len(found) + size > most:
            break
        for number in range(size):
            other = (number + distance) % count
            found.append((min(number, other), max(number, other)))
    return found
