"""The engine contract: requests in, results out, asynchronously; batching is the engine's own business.

Start reading: requests.py says what is asked and answered, facts.py what is known of an engine before it is loaded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from raygen.config.constraint import Constraint
from raygen.engines.facts import EngineFacts
from raygen.engines.requests import (
    VERBS,
    ClassifyRequest,
    ClassifyResult,
    EmbedRequest,
    EmbedResult,
    GenerateChunk,
    GenerateRequest,
    GenerateResult,
    LikelihoodRequest,
    LikelihoodResult,
    ListenRequest,
    ListenResult,
    RenderRequest,
    RenderResult,
    SpeakRequest,
    SpeakResult,
)
from raygen.errors import RowError
from raygen.models.resolved import ResolvedAdapter, ResolvedModel
from raygen.usage import Usage


@dataclass(slots=True)
class EngineStats:
    """Totals since the start, and gauges of this moment; read about once a second by the progress display."""

    requests: int = 0
    usage: Usage = field(default_factory=Usage)  # by unit, also ones of the engine's own
    in_flight: int = 0  # what the engine works on now, in the unit of `limit`: requests, or samples
    waiting: int = 0  # what it holds back
    limit: int = 0  # how much it could work on now
    extra: dict[str, float] = field(default_factory=dict)  # the engine's own figures, such as `refused_429`


class Engine(EngineFacts):
    """A loaded model. Built inside its actor from plain configuration, started once, closed at the end.

    Its verbs (`generate`, `render`, `speak`, `listen`, `embed`, `classify`, `likelihood`) may be called from many tasks of one
    event loop at once. They raise RowError for what concerns one row (the row becomes a failed outcome) and EngineError when
    the engine as a whole is broken. A verb that an engine does not have fails the row: `engine_unsupported`.
    """

    def __init__(self, model: ResolvedModel) -> None:
        self.model = model
        self.options: Any = self.Options.model_validate(model.spec.options)
        self.stats = EngineStats()
        # The part of what it works on at once that batches take while people ask; set before it is started.
        self.batch_share = 1.0

    async def start(self) -> None:
        """Load the model. Raises EngineError."""

    def others_are_answered(self) -> None:
        """Take note that other engines of this run have been answered by this model. Called from any thread."""

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """Return one text for every seed of the request. Raises RowError, EngineError."""
        raise self.lacks("generate")

    async def stream(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        """Yield text as it comes; an engine that cannot yields each sample whole. Raises what `generate` raises."""
        result = await self.generate(request)
        for index, sample in enumerate(result.samples):
            chunk = GenerateChunk(index, sample.text, sample.output_tokens or 0, sample.finish_reason)
            chunk.logprobs, chunk.reasoning, chunk.tool_calls = (
                sample.logprobs,
                sample.reasoning,
                sample.tool_calls,
            )
            if index == 0:
                chunk.prompt_tokens, chunk.cached_tokens = result.prompt_tokens, result.cached_tokens
                chunk.prompt_logprobs = result.prompt_logprobs
            yield chunk

    async def render(self, request: RenderRequest) -> RenderResult:
        """Return one medium for every seed of the request. Raises RowError, EngineError."""
        raise self.lacks("render")

    async def speak(self, request: SpeakRequest) -> SpeakResult:
        """Return one reading of the text for every seed of the request. Raises RowError, EngineError."""
        raise self.lacks("speak")

    async def listen(self, request: ListenRequest) -> ListenResult:
        """Return what is said in a sound. Raises RowError, EngineError."""
        raise self.lacks("listen")

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """Return one vector for every input of the request. Raises RowError, EngineError."""
        raise self.lacks("embed")

    async def classify(self, request: ClassifyRequest) -> ClassifyResult:
        """Return the probabilities of every text of the request. Raises RowError, EngineError."""
        raise self.lacks("classify")

    async def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        """Return how probable the model finds every text of the request. Raises RowError, EngineError."""
        raise self.lacks("likelihood")

    def has_begun(self, request: Any) -> bool:
        """Return whether it works, or has worked, on a request that it was asked: else nothing is lost by cancelling it.

        To be called in the engine's event loop. An engine that cannot tell says that it has.
        """
        return True

    @property
    def adapters(self) -> Mapping[str, ResolvedAdapter]:
        """Adapters by name, as requests may name them now."""
        return self.model.adapters

    async def load_adapter(self, name: str, adapter: ResolvedAdapter) -> None:
        """Hold one more LoRA adapter, while others are asked. Raises RowError: not this engine, or it does not fit."""
        raise self._unsupported("loads no adapters while it runs")

    async def drop_adapter(self, name: str) -> None:
        """Let go of an adapter once the last request that uses it has ended. Raises RowError `unknown_adapter`."""
        raise self._unsupported("loads no adapters while it runs")

    def check_adapter(self, name: str | None) -> None:
        """Raise RowError `unknown_adapter` unless the model has this adapter; None is the model itself."""
        known = self.adapters
        if name is not None and name not in known:
            raise RowError(
                "unknown_adapter",
                f"model {self.model.name!r} has no adapter {name!r}; adapters: {', '.join(known) or 'none'}",
            )

    def check_generate(self, request: GenerateRequest) -> None:
        """Refuse what a request asks for and this engine does not have: to be called before anything is computed.

        Raises:
            RowError: `engine_unsupported`; `unknown_adapter`; `invalid_prompt`, messages or tools beside a prompt.
        """
        self.check_adapter(request.adapter)
        self.check_constraint(request.constraint)
        if request.prompt is not None:
            if not self.takes_raw_prompts:
                raise self._unsupported("takes chat messages, and no prompt that goes on as it is")
            if request.messages or request.tools:
                raise RowError(
                    "invalid_prompt", "a prompt that goes on as it is has no messages and no tools"
                )
        if request.prompt_logprobs is not None and not self.tells_prompt_logprobs:
            raise self._unsupported("does not tell how probable the tokens of a prompt are")
        if request.tools and not self.takes_tools:
            raise self._unsupported("takes no tools")

    def check_constraint(self, constraint: Constraint | None) -> None:
        """Raise RowError `engine_unsupported` unless the model keeps to this constraint."""
        if constraint is not None and (fault := self.constraint_fault(constraint, self.model.spec.options)):
            raise self._unsupported(fault)

    def lacks(self, verb: str) -> RowError:
        """Return the error of a row that asks for a verb that the model does not answer."""
        return self._unsupported(VERBS[verb])

    def _unsupported(self, lack: str) -> RowError:
        name, family = self.model.name, self.model.spec.family
        return RowError(
            "engine_unsupported",
            f"model {name!r} (engine `{self.model.spec.engine}`, family {family}) {lack}",
        )

    async def close(self) -> None:
        """Release what `start` took."""

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
