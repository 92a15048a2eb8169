"""Requests and results, by verb: what engines are asked for, and what they answer.

| verb         | request             | result             | what comes back                                         |
|--------------|---------------------|--------------------|---------------------------------------------------------|
| `generate`   | `GenerateRequest`   | `GenerateResult`   | texts that continue messages                            |
| `render`     | `RenderRequest`     | `RenderResult`     | pictures, sounds or videos of a prompt, label or medium |
| `speak`      | `SpeakRequest`      | `SpeakResult`      | a text, spoken                                          |
| `listen`     | `ListenRequest`     | `ListenResult`     | the text that is spoken in a sound                      |
| `embed`      | `EmbedRequest`      | `EmbedResult`      | vectors of texts, pictures or sounds                    |
| `classify`   | `ClassifyRequest`   | `ClassifyResult`   | probabilities of labels                                 |
| `likelihood` | `LikelihoodRequest` | `LikelihoodResult` | how probable texts are                                  |

Every request has a `row_id`; those that draw at random have a seed for each sample. Every result has a `usage`: amounts by
unit (see `raygen.usage`). A unit that the engine does not know is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from raygen.config.constraint import Constraint
from raygen.config.sampling import Sampling
from raygen.engines.media_requests import (
    BATCH,
    INTERACTIVE,
    Heard,
    ListenRequest,
    ListenResult,
    Media,
    MediaSample,
    RenderRequest,
    RenderResult,
    SpeakRequest,
    SpeakResult,
)
from raygen.usage import OUTPUT_TOKENS, Usage

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "BATCH",
    "INTERACTIVE",
    "VERBS",
    "ClassifyRequest",
    "ClassifyResult",
    "EmbedRequest",
    "EmbedResult",
    "GenerateChunk",
    "GenerateRequest",
    "GenerateResult",
    "GeneratedSample",
    "Heard",
    "LikelihoodRequest",
    "LikelihoodResult",
    "ListenRequest",
    "ListenResult",
    "Media",
    "MediaSample",
    "RenderRequest",
    "RenderResult",
    "SpeakRequest",
    "SpeakResult",
    "TokenLogprob",
    "TokenMask",
]

# What a model that does not answer a verb is said to lack.
VERBS = {
    "generate": "generates no text",
    "render": "renders no media",
    "speak": "speaks no text",
    "listen": "listens to no sound",
    "embed": "embeds no texts",
    "classify": "classifies no texts",
    "likelihood": "tells no likelihood of a text",
}


class TokenMask(Protocol):
    """Says which token may come next: the hook for masks of your own, beside a request's `constraint`."""

    def __call__(self, prompt: Sequence[int], tokens: Sequence[int]) -> np.ndarray | None:
        """Return a bool array (V,), True where a token is allowed after `tokens`; None allows all.

        Must depend on its arguments alone. An array that allows nothing fails the row (`mask_forbids_all`).
        """


@dataclass(slots=True)
class GenerateRequest:
    """One row's request: `len(seeds)` samples of one prompt. Each sample has a seed of its own.

    Without seeds nothing is generated: the answer tells of the prompt alone.
    """

    row_id: str
    # Chat messages; content is text, or OpenAI content parts (text, image_url). The assistant's may have `tool_calls`, whose
    # arguments are an object or JSON text, instead of content.
    messages: list[dict[str, Any]]
    sampling: Sampling
    seeds: list[int]  # each in [0, 2**53)
    adapter: str | None = None  # one of the model's adapters; None is the model itself
    token_mask: TokenMask | None = None
    constraint: Constraint | None = None  # what each sample's whole text has to be
    # Beside the messages: [{type: function, function: {name, ...}}, ...].
    tools: list[dict[str, Any]] | None = None
    # What the text goes on from as it is, instead of messages (which are empty then): no chat template, token ids or text.
    prompt: str | list[int] | None = None
    # Also tell how probable the prompt's own tokens are, with this many others of each; None: not asked.
    prompt_logprobs: int | None = None
    priority: int = INTERACTIVE


@dataclass(slots=True)
class TokenLogprob:
    """Natural logarithm of a token's probability, as the model gave it: before temperature, penalties, bias and masks."""

    token_id: int | None  # None: an endpoint that does not say
    token: str
    logprob: float | None  # None: an endpoint that does not say, or gives what is no number
    # The most probable tokens: id, token, logprob.
    top: list[tuple[int | None, str, float | None]] = field(default_factory=list)


@dataclass(slots=True)
class GeneratedSample:
    """A text that a model wrote."""

    text: str
    finish_reason: str  # stop | length | content_filter | tool_calls | unknown: see finish.py
    output_tokens: int | None  # None: an endpoint that does not say
    token_ids: list[int] | None = None  # where the engine knows them
    logprobs: list[TokenLogprob] | None = None  # one a token, when the sampling asks for them
    reasoning: str | None = None  # what the model thought before the text, where that is told apart
    refusal: str | None = None  # the words with which it declined to answer
    tool_calls: str | None = None  # what it wanted to call: JSON, as the endpoint gave it
    units: Mapping[str, float] | None = None  # what it took in units other than tokens
    trace: list[dict[str, Any]] | None = None  # of a program: what each step did and decided


@dataclass(slots=True)
class GenerateResult:
    """One text for every seed of the request, in the order of its seeds."""

    samples: list[GeneratedSample]
    prompt_tokens: int | None  # counted once, however many samples; None: an endpoint that does not say
    # Of the prompt, that were computed before and taken over; None: not known. How it came about is no part of what came.
    cached_tokens: int | None = field(default=None, compare=False)
    prompt_logprobs: list[TokenLogprob] | None = None  # one a token; of the first, `logprob` is None

    @property
    def usage(self) -> Usage:
        """Amounts by unit; a unit that the engine does not know is left out."""
        found = Usage() if self.prompt_tokens is None else Usage(prompt_tokens=self.prompt_tokens)
        for sample in self.samples:
            if sample.output_tokens is not None:
                found[OUTPUT_TOKENS] = found.get(OUTPUT_TOKENS, 0) + sample.output_tokens
            if sample.units:
                found += sample.units
        return found


@dataclass(slots=True)
class GenerateChunk:
    """A piece of one sample's text, as it comes."""

    index: int  # of the sample, in the order of the request's seeds
    text: str  # what is new
    output_tokens: int  # so far
    finish_reason: str | None = None  # with the last piece
    # When the sampling asks for them: of the tokens whose text is certain by now. All pieces' together are the sample's.
    logprobs: list[TokenLogprob] | None = None
    # With a stream's first piece, where they are known.
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    prompt_logprobs: list[TokenLogprob] | None = None
    # With the last piece, where a sample has them: see GeneratedSample.
    reasoning: str | None = None
    tool_calls: str | None = None


@dataclass(slots=True)
class EmbedRequest:
    """One row's request: a vector for each of these."""

    row_id: str
    inputs: Sequence[str | Media]
    priority: int = INTERACTIVE


@dataclass(slots=True)
class EmbedResult:
    """One vector for every input, in the order of the request."""

    vectors: np.ndarray  # float32 (inputs, width)
    tokens: int  # of all texts, with what the tokenizer adds
    media: Usage = field(default_factory=Usage)  # of all media, by unit

    @property
    def usage(self) -> Usage:
        """Tokens of the texts, and amounts of media by unit."""
        return Usage(encoded_tokens=self.tokens) + self.media


@dataclass(slots=True)
class ClassifyRequest:
    """One row's request: the labels' probabilities for each of these."""

    row_id: str
    texts: Sequence[str | tuple[str, str]]  # a text, or a pair such as (premise, hypothesis)
    priority: int = INTERACTIVE


@dataclass(slots=True)
class ClassifyResult:
    """The labels' probabilities for every text, in the order of the request."""

    probabilities: list[dict[str, float]]  # one a text: by label, in the model's order
    logits: np.ndarray  # float32 (texts, labels)
    tokens: int  # of all texts, with what the tokenizer adds

    @property
    def usage(self) -> Usage:
        """Tokens of the texts."""
        return Usage(encoded_tokens=self.tokens)


@dataclass(slots=True)
class LikelihoodRequest:
    """How probable are these texts, each as an answer to the same messages?"""

    row_id: str
    texts: Sequence[str]
    # None: each text by itself, as one that nothing comes before.
    messages: list[dict[str, Any]] | None = None
    adapter: str | None = None
    priority: int = INTERACTIVE


@dataclass(slots=True)
class LikelihoodResult:
    """The probability of every text, in the order of the request."""

    logprobs: list[float]  # one a text: natural logarithm of its probability, all its tokens together
    tokens: list[int]  # one a text: how many those are
    prompt_tokens: int  # of what stands before, once

    @property
    def usage(self) -> Usage:
        """Tokens of the texts, and of what stands before them."""
        return Usage(prompt_tokens=self.prompt_tokens + sum(self.tokens))
