"""Word list: the share of the sample's words that are on a list, 0 to 1; of phrases all words count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from raygen.data.text.words import words_of
from raygen.metric_config import WordList
from raygen.steps.base import Step
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.scores import Metric


class WordListMetric(Metric):
    config: WordList

    def __init__(self, config: WordList, step: Step) -> None:
        super().__init__(config, step)
        self._phrases = frozenset(tuple(entry.split()) for entry in config.words)
        self._lengths = sorted({len(phrase) for phrase in self._phrases}, reverse=True)

    async def scores(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[float]:
        return [self._share(words_of(draft.text)) for draft in drafts]

    def _share(self, words: Sequence[str]) -> float:
        """Of no words at all, none is on the list."""
        covered = 0  # where the last find ends
        count = 0
        for start in range(len(words)):
            longest = next((len(phrase) for phrase in self._from(words, start) if phrase in self._phrases), 0)
            if start + longest > covered:
                count += start + longest - max(covered, start)
                covered = start + longest
        return count / len(words) if words else 0.0

    def _from(self, words: Sequence[str], start: int) -> Iterator[tuple[str, ...]]:
        """Yield what may be a phrase that begins here, the longest first; the text's end cuts it."""
        for length in self._lengths:
            yield tuple(words[start : start + length])
