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
from raygen.config.media import ListenSettings, RenderSettings, SpeakSettings
from raygen.config.sampling import Sampling
from raygen.usage import OUTPUT_TOKENS, Usage, known, total

if TYPE_CHECKING:
    import numpy as np

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


# Priorities. What somebody waits for goes before what belongs to a batch; engines without priorities ignore them.
INTERACTIVE, BATCH = 0, 1


@dataclass(slots=True, frozen=True)
class Media:
    """A picture, a sound or a video: its bytes, encoded as `media_type` says (`image/png`, `audio/flac`)."""

    data: bytes
    media_type: str


@dataclass(slots=True)
class GenerateRequest:
    """One row's request: `len(seeds)` samples of one prompt. Each sample has a seed of its own."""

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
    cached_tokens: int | None = (
        None  # of the prompt, that were computed before and taken over; None: not known
    )
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
    logprobs: list[TokenLogprob] | None = None  # of the new tokens, when the sampling asks for them
    # With the first piece of the first sample, where they are known.
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    prompt_logprobs: list[TokenLogprob] | None = None
    # With the last piece, where a sample has them: see GeneratedSample.
    reasoning: str | None = None
    tool_calls: str | None = None


@dataclass(slots=True)
class RenderRequest:
    """One row's request: `len(seeds)` media of one prompt, label or input, or of none (an unconditional model)."""

    row_id: str
    settings: RenderSettings
    seeds: list[int]  # each in [0, 2**53)
    prompt: str | None = None
    label: str | None = None  # a class of a model that renders by class
    media: Sequence[Media] = ()  # what it starts from, or is guided by
    adapter: str | None = None
    priority: int = INTERACTIVE


@dataclass(slots=True)
class MediaSample:
    """A picture, a sound or a video that a model made."""

    media: bytes
    media_type: str  # image/png, audio/flac, video/mp4, ...
    width: int | None = None  # pixels, of pictures and video
    height: int | None = None
    seconds: float | None = None  # of sound and video
    frames: int | None = None  # of video
    finish_reason: str = "stop"  # stop | length | content_filter

    @property
    def usage(self) -> Usage:
        """Amounts by unit: a picture is one of `images`, a sound `audio_seconds`, a video `frames`."""
        kind = self.media_type.partition("/")[0]
        if kind == "image":
            return Usage(images=1)
        return known(audio_seconds=self.seconds) if kind == "audio" else known(frames=self.frames)


@dataclass(slots=True)
class RenderResult:
    """One medium for every seed of the request, in the order of its seeds."""

    samples: list[MediaSample]
    prompt_tokens: int | None = None  # counted once, however many samples; None: not known

    @property
    def usage(self) -> Usage:
        """Amounts by unit; a unit that the engine does not know is left out."""
        return total([known(prompt_tokens=self.prompt_tokens), *(sample.usage for sample in self.samples)])


@dataclass(slots=True)
class SpeakRequest:
    """One row's request: `len(seeds)` readings of one text."""

    row_id: str
    text: str
    settings: SpeakSettings
    seeds: list[int]  # each in [0, 2**53)
    priority: int = INTERACTIVE


@dataclass(slots=True)
class SpeakResult:
    """One sound for every seed of the request, in the order of its seeds."""

    samples: list[MediaSample]

    @property
    def usage(self) -> Usage:
        """Seconds of sound."""
        return total(sample.usage for sample in self.samples)


@dataclass(slots=True)
class ListenRequest:
    """One row's request: what is said in this sound?"""

    row_id: str
    sound: Media
    settings: ListenSettings
    priority: int = INTERACTIVE


@dataclass(slots=True)
class Heard:
    """A part of a sound, and what is said there."""

    text: str
    begin_s: float  # since the sound's beginning
    end_s: float


@dataclass(slots=True)
class ListenResult:
    """What is said in a sound."""

    text: str
    seconds: float  # of the sound
    language: str | None = None  # as asked for, or detected; None: not known
    parts: list[Heard] | None = None  # in order, when timestamps are asked for
    output_tokens: int | None = None

    @property
    def usage(self) -> Usage:
        """Seconds of sound, and tokens of text where they are known."""
        return known(audio_seconds=self.seconds, output_tokens=self.output_tokens)


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
