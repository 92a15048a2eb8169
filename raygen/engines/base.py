"""The engine contract: requests in, results out, asynchronously; batching is the engine's own business.

An engine module must import without its heavy library (torch, aiohttp): it is imported to validate a job's options.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from raygen.config.base import Frozen
from raygen.config.constraint import Constraint
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.errors import RowError

if TYPE_CHECKING:
    import numpy as np


class TokenMask(Protocol):
    """Says which token may come next: the hook for masks of your own, beside a request's `constraint`."""

    def __call__(self, prompt: Sequence[int], tokens: Sequence[int]) -> np.ndarray | None:
        """Return a bool array (V,), True where a token is allowed after `tokens`; None allows all.

        Must depend on its arguments alone. An array that allows nothing fails the row (`mask_forbids_all`).
        """


@dataclass(slots=True, frozen=True)
class ResolvedAdapter:
    """A LoRA adapter's reference after it was resolved."""

    ref: str
    path: str
    digest: str  # sha256 of its files


@dataclass(slots=True, frozen=True)
class ResolvedModel:
    """A model reference after it was resolved, once, by the driver."""

    name: str  # the job's name for it
    spec: ModelSpec
    path: str | None  # local directory with safetensors and tokenizer; None for engines without weights
    digest: str  # sha256 of the weights, or a name for what has none
    adapters: Mapping[str, ResolvedAdapter] = field(default_factory=dict)  # by the job's name for it
    date: str | None = None  # that the clock of its chat template shows, if the template asks for it
    former: bool = False  # of a run that was planned before dates were: its calls are named as they were then


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
    tools: list[dict[str, Any]] | None = (
        None  # [{type: function, function: {name, ...}}, ...], beside the messages
    )


@dataclass(slots=True)
class TokenLogprob:
    """Natural logarithm of a token's probability, as the model gave it: before temperature, penalties, bias and masks."""

    token_id: int | None  # None: an endpoint that does not say
    token: str
    logprob: float | None  # None: an endpoint that does not say, or gives what is no number
    top: list[tuple[int | None, str, float | None]] = field(
        default_factory=list
    )  # the most probable: id, token, logprob


@dataclass(slots=True)
class GeneratedSample:
    text: str
    finish_reason: str  # stop | length | content_filter | tool_calls | unknown: see finish.py
    output_tokens: int | None  # None: an endpoint that does not say
    token_ids: list[int] | None = None  # where the engine knows them
    logprobs: list[TokenLogprob] | None = None  # one a token, when the sampling asks for them
    reasoning: str | None = None  # what the model thought before the text, where that is told apart
    refusal: str | None = None  # the words with which it declined to answer
    tool_calls: str | None = None  # what it wanted to call: JSON, as the endpoint gave it


@dataclass(slots=True)
class GenerateResult:
    samples: list[GeneratedSample]  # in the order of the request's seeds
    prompt_tokens: (
        int | None
    )  # of the prompt, once, however many samples; None: an endpoint that does not say


@dataclass(slots=True)
class GenerateChunk:
    """A piece of one sample's text, as it comes."""

    index: int  # of the sample, in the order of the request's seeds
    text: str  # what is new
    output_tokens: int  # so far
    finish_reason: str | None = None  # with the last piece


@dataclass(slots=True)
class EmbedRequest:
    row_id: str
    texts: Sequence[str]


@dataclass(slots=True)
class EmbedResult:
    vectors: np.ndarray  # float32 (texts, width), in the order of the request
    tokens: int  # of all texts, with what the tokenizer adds


@dataclass(slots=True)
class ClassifyRequest:
    row_id: str
    texts: Sequence[str | tuple[str, str]]  # a text, or a pair such as (premise, hypothesis)


@dataclass(slots=True)
class ClassifyResult:
    probabilities: list[dict[str, float]]  # one a text: by label, in the model's order
    logits: np.ndarray  # float32 (texts, labels)
    tokens: int  # of all texts, with what the tokenizer adds


@dataclass(slots=True)
class LikelihoodRequest:
    """How probable are these texts, each as an answer to the same messages?"""

    row_id: str
    texts: Sequence[str]
    messages: list[dict[str, Any]] | None = (
        None  # None: each text by itself, as one that nothing comes before
    )
    adapter: str | None = None


@dataclass(slots=True)
class LikelihoodResult:
    logprobs: list[float]  # one a text: natural logarithm of its probability, all its tokens together
    tokens: list[int]  # one a text: how many those are
    prompt_tokens: int  # of what stands before, once


@dataclass(slots=True)
class EngineStats:
    """Totals since the start, and gauges of this moment; read about once a second by the progress display."""

    requests: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    in_flight: int = 0  # what the engine works on now, in the unit of `limit`: requests, or samples
    waiting: int = 0  # what it holds back
    limit: int = 0  # how much it could work on now
    extra: dict[str, float] = field(default_factory=dict)  # the engine's own figures, such as `refused_429`


class Engine(ABC):
    """A loaded model. Built inside its actor from plain configuration, started once, closed at the end.

    `generate`, `embed`, `classify` and `likelihood` may be called from many tasks of one event loop at once. They raise
    RowError for what concerns one row (the row becomes a failed outcome) and EngineError when the engine as a whole is broken.
    """

    families: ClassVar[frozenset[str]] = frozenset({"causal_lm"})  # of models that it takes
    needs_ref: ClassVar[bool] = True  # does the job have to name a `ref`?
    takes_adapters: ClassVar[bool] = False
    takes_constraints: ClassVar[bool] = False  # does it keep to what a request's `constraint` says?
    takes_quantised: ClassVar[bool] = False  # does it compute with quantised weights as they are?
    templated: ClassVar[bool] = False  # does it write prompts by the model's own chat template?
    has_weights: ClassVar[bool] = True  # is the `ref` a model reference to resolve to local files?
    replayable: ClassVar[bool] = True  # are the same request and seed promised the same text?
    accepts_images: ClassVar[bool] = False
    gives_likelihoods: ClassVar[bool] = False
    shares_steps: ClassVar[bool] = False  # does every request that is under way slow each of the others?

    # Options that change what is generated. They are part of a job's identity: a run is not resumed with others.
    deciding_options: ClassVar[frozenset[str]] = frozenset()

    class Options(Frozen):
        """What a job may say under `options`."""

    def __init__(self, model: ResolvedModel) -> None:
        self.model = model
        self.options: Any = self.Options.model_validate(model.spec.options)
        self.stats = EngineStats()

    async def start(self) -> None:  # noqa: B027 - an engine without a warm-up needs none
        """Load the model. Raises EngineError."""

    def others_are_answered(self) -> None:  # noqa: B027 - of no use to most
        """Take note that other engines of this run have been answered by this model. Called from any thread."""

    @abstractmethod
    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """Return one sample for every seed of the request."""

    async def stream(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        """Yield text as it comes; an engine that cannot yields each sample whole. Raises what `generate` raises."""
        result = await self.generate(request)
        for index, sample in enumerate(result.samples):
            yield GenerateChunk(index, sample.text, sample.output_tokens or 0, sample.finish_reason)

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """Return one vector for every text of the request. Raises RowError, EngineError."""
        raise self._unsupported("embeds no texts")

    async def classify(self, request: ClassifyRequest) -> ClassifyResult:
        """Return the probabilities of every text of the request. Raises RowError, EngineError."""
        raise self._unsupported("classifies no texts")

    async def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        """Return how probable the model finds every text of the request. Raises RowError, EngineError."""
        raise self._unsupported("tells no likelihood of a text")

    @classmethod
    def labels(cls, model: ResolvedModel) -> tuple[str, ...] | None:
        """Return a classifier's classes before anything is loaded; None: it cannot be told. Raises EngineConfigError."""
        return None

    def check_adapter(self, name: str | None) -> None:
        """Raise RowError `unknown_adapter` unless the model has this adapter; None is the model itself."""
        known = self.model.adapters
        if name is not None and name not in known:
            raise RowError(
                "unknown_adapter",
                f"model {self.model.name!r} has no adapter {name!r}; adapters: {', '.join(known) or 'none'}",
            )

    @classmethod
    def constraint_fault(cls, constraint: Constraint, options: Mapping[str, Any]) -> str | None:
        """Say why a model with these options does not keep to a constraint; None: it does."""
        return None if cls.takes_constraints else "takes no constraints"

    def check_constraint(self, constraint: Constraint | None) -> None:
        """Raise RowError `engine_unsupported` unless the model keeps to this constraint."""
        if constraint is not None and (fault := self.constraint_fault(constraint, self.model.spec.options)):
            raise self._unsupported(fault)

    def _unsupported(self, lack: str) -> RowError:
        name, family = self.model.name, self.model.spec.family
        return RowError(
            "engine_unsupported",
            f"model {name!r} (engine `{self.model.spec.engine}`, family {family}) {lack}",
        )

    async def close(self) -> None:  # noqa: B027 - an engine without resources needs none
        """Release what `start` took."""

    @classmethod
    def cpus(cls, cores: int, gpus: float) -> float:
        """Logical CPUs to ask Ray for, on a node with `cores`, beside `gpus`. Whole nodes must never be taken: reads starve."""
        return 0.25

    @property
    def capacity(self) -> int:
        """How many requests it can usefully have at once: decides how many chunks are kept in flight."""
        return 1

    @property
    def yardstick(self) -> str | None:
        """How rows are computed on this machine, for the lineage: bits may differ where it does. None: nothing known."""
        return None

    @property
    def version(self) -> str:
        """Name and version of what generates, for the lineage: `torch 2.13.0, transformers 5.23.0`."""
        from raygen.version import __version__

        return f"raygen {__version__}"
