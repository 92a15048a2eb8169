"""A forwarding engine: stands for a model that is loaded elsewhere, and sends each request there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from raygen.engines.base import Engine, EngineStats
from raygen.engines.requests import (
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
from raygen.models.resolved import ResolvedModel


class ForwardingEngine(Engine, ABC):
    """Answers every verb by sending the request on. Its subclasses say how, and what the other engine's capacity is."""

    def __init__(self, model: ResolvedModel, stats: EngineStats | None = None) -> None:
        self.model = model
        self.stats = stats or EngineStats()

    @abstractmethod
    async def ask(self, verb: str, request: Any) -> Any:
        """Return what this verb of the other engine returns. Raises what that raises, and what the way there raises."""

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        found: GenerateResult = await self.ask("generate", request)
        return found

    async def render(self, request: RenderRequest) -> RenderResult:
        found: RenderResult = await self.ask("render", request)
        return found

    async def speak(self, request: SpeakRequest) -> SpeakResult:
        found: SpeakResult = await self.ask("speak", request)
        return found

    async def listen(self, request: ListenRequest) -> ListenResult:
        found: ListenResult = await self.ask("listen", request)
        return found

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        found: EmbedResult = await self.ask("embed", request)
        return found

    async def classify(self, request: ClassifyRequest) -> ClassifyResult:
        found: ClassifyResult = await self.ask("classify", request)
        return found

    async def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        found: LikelihoodResult = await self.ask("likelihood", request)
        return found


class EngineBeside(ForwardingEngine):
    """Stands for an engine of this process, under the same event loop; subclasses change what goes in or comes out."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.model, engine.stats)
        self.other = engine

    async def ask(self, verb: str, request: Any) -> Any:
        return await getattr(self.other, verb)(request)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        async for chunk in self.other.stream(request):
            yield chunk

    def has_begun(self, request: Any) -> bool:
        return self.other.has_begun(request)

    @property
    def capacity(self) -> int:
        return self.other.capacity

    @property
    def yardstick(self) -> str | None:
        return self.other.yardstick

    @property
    def version(self) -> str:
        return self.other.version
