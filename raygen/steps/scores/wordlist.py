"""Word list: the share of the sample's words that are on a list, 0 to 1; of phrases all words count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from raygen.config.base import Frozen
from raygen.data.text.words import words_of
from raygen.steps.base import Step
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.scores import Scorer

MOST_WORDS = 10_000  # they are a part of the job, which every task of a run is sent

MOST_BYTES = 2**20


class WordList(Frozen):
    """Which share of the sample's words is on a list? From `words`, or from the lines of a file."""

    words: tuple[Annotated[str, Field(max_length=200)], ...] = Field(
        min_length=1, max_length=MOST_WORDS, description="words, or phrases of several; case does not matter"
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        """Make a file's words the job's own, so that a run is resumed and retried with the words that it began with."""
        if not isinstance(given, dict) or "path" not in given:
            return given
        rest = {key: value for key, value in given.items() if key != "path"}
        if "words" in rest:
            raise ValueError("give exactly one of words, path; given: words, path")
        return {**rest, "words": _lines_of(given["path"])}

    @field_validator("words")
    @classmethod
    def _once_each(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        found = {" ".join(words_of(word)): word for word in words}
        if "" in found:
            raise ValueError(f"{found['']!r} has neither a letter nor a digit")
        return tuple(sorted(found))


class WordListScorer(Scorer):
    """Finds the longest phrase at each place; overlapping ones count each word once."""

    Config = WordList

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


def _lines_of(path: Any) -> list[str]:
    """Return a file's lines, without empty ones and those that begin with `#`. Raises ValueError."""
    if not isinstance(path, str):
        raise ValueError(f"path: a path is a text, not {path!r:.80}")
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ValueError(f"path: {path} is larger than {MOST_BYTES:,} bytes")
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"path: {path} is not UTF-8: {error}") from None
    except OSError as error:
        raise ValueError(f"path: {path} cannot be read: {error.strerror}") from None
    return [line for line in lines if line and not line.startswith("#")]
