"""Calls: a row's way to the engines. Every call has a key that says what was asked of which weights."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from raygen.engines.base import Engine
from raygen.engines.finish import finish_of
from raygen.engines.reasoning import told_apart
from raygen.engines.requests import (
    ClassifyRequest,
    ClassifyResult,
    EmbedRequest,
    GeneratedSample,
    GenerateRequest,
    GenerateResult,
    LikelihoodRequest,
    LikelihoodResult,
    RenderRequest,
    RenderResult,
)
from raygen.errors import RowError
from raygen.json_text import write_json
from raygen.steps.row import record
from raygen.steps.row.record import Record
from raygen.usage import Usage

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
Texts = Sequence[str | tuple[str, str]]


@dataclass(slots=True)
class Calls:
    """The engines, for one row.

    Args:
        engines: by the job's names for their models.
        identities: of each model, what decides its answers (`identity_of`).
        usage: to which that of every call that is computed is added.
        known: answers that are recorded already; a call that is among them goes to no engine.
        tags: of models that write their reasoning into the text: what stands before and behind it.
    """

    engines: Mapping[str, Engine]
    identities: Mapping[str, Any]
    usage: Usage = field(default_factory=Usage)
    computed: int = 0  # calls that engines answered
    reused: int = 0  # calls that a record answered; they cost nothing
    known: Record | None = None
    tags: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    _generated: dict[str, tuple[str, GenerateResult]] = field(default_factory=dict)  # key -> model, result
    _others: dict[str, dict[str, Any]] = field(default_factory=dict)  # key -> as outcomes hold it (CALL)

    async def generate(self, model: str, request: GenerateRequest) -> tuple[str, GenerateResult]:
        """Return the call's key, and one sample for every seed. Raises RowError, EngineError."""
        key = self.key(
            "generate",
            model,
            request.messages,
            request.sampling.model_dump(mode="json"),
            request.seeds,
            request.adapter,
            *([request.constraint.model_dump(mode="json", exclude_none=True)] if request.constraint else []),
            # As text: models read them in the order of their keys.
            *([{"tools": write_json(request.tools, default=str).decode()}] if request.tools else []),
        )
        if self.known is not None and (recorded := self.known.generated(key, request)) is not None:
            self.reused += 1
            self._generated[key] = (model, recorded)
            return key, recorded
        result = await self.engines[model].generate(request)
        if len(result.samples) != len(request.seeds):
            raise RowError(
                "bad_answer",
                f"the engine returned {len(result.samples)} samples; asked for {len(request.seeds)}",
            )
        result.samples = [_settled(sample, self.tags.get(model)) for sample in result.samples]
        self.computed += 1
        self.usage += result.usage
        self._generated[key] = (model, result)
        return key, result

    async def render(self, model: str, request: RenderRequest) -> tuple[str, RenderResult]:
        """Return the call's key, and one medium for every seed. Raises RowError, EngineError."""
        key = self.key(
            "render",
            model,
            request.prompt,
            request.label,
            [(each.media_type, hashlib.sha256(each.data).hexdigest()) for each in request.media],
            request.settings.model_dump(mode="json", exclude_none=True),
            request.seeds,
            request.adapter,
        )
        if self.known is not None and self.known.may_have(key):
            # Media may have to be read from a store.
            recorded = await asyncio.to_thread(self.known.rendered, key, request)
            if recorded is not None:
                self.reused += 1
                return key, recorded
        result = await self.engines[model].render(request)
        if len(result.samples) != len(request.seeds):
            raise RowError(
                "bad_answer",
                f"the engine returned {len(result.samples)} media; asked for {len(request.seeds)}",
            )
        for sample in result.samples:
            finish = finish_of(sample.finish_reason)
            if finish is None:
                raise RowError("bad_answer", f"a medium has finish_reason {sample.finish_reason!r}")
            sample.finish_reason = finish
        self.computed += 1
        self.usage += result.usage
        return key, result

    async def classify(self, model: str, row_id: str, texts: Texts) -> list[dict[str, float]]:
        """Return the probability of every label for every text or pair. Raises RowError, EngineError."""
        if not texts:
            return []
        key = self.key("classify", model, texts)
        if self.known is not None and (recorded := self.known.classified(key)) is not None:
            self.reused += 1
            self._others[key] = record.classified(key, model, *recorded)
            return recorded[0]
        result: ClassifyResult = await self.engines[model].classify(ClassifyRequest(row_id, texts))
        self.computed += 1
        self.usage += result.usage
        self._others[key] = record.classified(key, model, result.probabilities, result.tokens)
        return result.probabilities

    async def embed(self, model: str, row_id: str, texts: Sequence[str]) -> np.ndarray:
        """Return one vector for every text, float32 (texts, width). Raises RowError, EngineError.

        Vectors are not recorded: they would take more room than all else in an outcome, and are quickly computed.
        """
        if not texts:
            import numpy as np

            return np.zeros((0, 0), np.float32)
        result = await self.engines[model].embed(EmbedRequest(row_id, texts))
        self.computed += 1
        self.usage += result.usage
        return result.vectors

    async def likelihood(self, model: str, request: LikelihoodRequest) -> LikelihoodResult:
        """Return how probable the model finds every text of the request. Raises RowError, EngineError."""
        if not request.texts:
            return LikelihoodResult([], [], 0)
        key = self.key("likelihood", model, request.texts, request.messages, request.adapter)
        if self.known is not None and (recorded := self.known.likely(key)) is not None:
            self.reused += 1
            self._others[key] = record.likely(key, model, recorded)
            return recorded
        result = await self.engines[model].likelihood(request)
        self.computed += 1
        self.usage += result.usage
        self._others[key] = record.likely(key, model, result)
        return result

    def made(self, drafted: Collection[str]) -> list[dict[str, Any]]:
        """Return the calls that no sample of the row holds, in the order of their keys, as outcomes hold them (CALL).

        Args:
            drafted: keys of the calls whose samples are the row's own.
        """
        others = {
            key: record.generated(key, model, result)
            for key, (model, result) in self._generated.items()
            if key not in drafted
        }
        return [call for _, call in sorted({**others, **self._others}.items())]

    def key(self, kind: str, model: str, *asked: Any) -> str:
        """Name a call by what was asked of which weights: 128 bits of BLAKE2, as hex."""
        asked = (kind, self.identities.get(model), *asked)
        data = write_json(asked, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
        return hashlib.blake2b(data, digest_size=16).hexdigest()


def _settled(sample: GeneratedSample, tags: tuple[str, str] | None) -> GeneratedSample:
    """Return a sample as steps see it. Raises RowError `bad_answer`: it is a fragment."""
    finish = finish_of(sample.finish_reason)
    if finish is None:
        raise RowError("bad_answer", f"the text broke off with finish_reason {sample.finish_reason!r}")
    sample.finish_reason = finish
    return sample if tags is None else told_apart(sample, tags)


async def in_order(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all at once, and return what came out in their order. Raises the first error by that order, whichever came first."""
    found: list[T] = []
    for each in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(each, BaseException):
            raise each
        found.append(each)
    return found
