"""Metrics as they are described: similarity, perplexity, word list. Those without a class of their own are in step_config.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from raygen.config.base import Frozen
from raygen.data.text.words import words_of

MOST_WORDS = 10_000  # they are a part of the job, which every task of a run is sent
MOST_BYTES = 2**20


class Similarity(Frozen):
    """How near in meaning is the sample to a text? The cosine of their vectors, by an embedder."""

    model: str
    to: str = Field(description="a template")
    text: str = Field("{{ sample }}", description="a template; `sample` and `answer` are the sample's")


class Perplexity(Frozen):
    """How surprised is a model by the sample? 1 and more; lower is better."""

    model: str
    prompt: str | None = Field(
        None, description="a template: what the sample answers; unset: nothing stands before it"
    )


class WordList(Frozen):
    """Which share of the sample's words is on a list? From `words`, or from the lines of a file."""

    words: tuple[Annotated[str, Field(max_length=200)], ...] = Field(
        min_length=1, max_length=MOST_WORDS, description="words, or phrases of several; case does not matter"
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        """A file's words become the job's own, so that a run is resumed and retried with the words that it began with."""
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
