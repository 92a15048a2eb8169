"""The torch engine: causal LMs on this machine's CPU or GPU, by transformers' own model classes.

Requests wait in a queue, join a running batch between two steps and leave it when done. The tokens of a row
depend on its prompt, its sampling settings and its seeds alone: never on the batch, the order or a restart.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from raygen.config import Frozen
from raygen.engines.base import Engine, GeneratedSample, GenerateRequest, GenerateResult, ResolvedModel
from raygen.engines.batch import Batch, Sample
from raygen.engines.stopping import StopRule
from raygen.errors import EngineError, RowError

if TYPE_CHECKING:
    from raygen.models.causal_lm import CausalLM

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Pending:
    """A request inside the engine: done when all its samples are, or one of them failed."""

    samples: list[Sample]
    finished: asyncio.Future[None]
    started: bool = False


class TorchEngine(Engine):
    deciding_options = frozenset({"context_tokens"})

    class Options(Frozen):
        threads: int | None = Field(
            None, ge=1, le=1024, description="CPU threads; one for each core if unset"
        )
        max_batch: int = Field(128, ge=1, le=4096, description="samples generated at once")
        context_tokens: int | None = Field(
            None,
            ge=2,
            description="prompt and output together; the model's own limit if that is less or this unset",
        )
        device: str = Field(
            "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto: cuda if there is one"
        )

    @classmethod
    def cpus(cls, cores: int, gpus: float) -> float:
        """Beside a GPU, one; else all cores of a node but one: two engines on one CPU slow each other."""
        return 1.0 if gpus else max(0.5, cores - 1.0)

    def __init__(self, model: ResolvedModel) -> None:
        super().__init__(model)
        self._waiting: deque[tuple[Pending, Sample]] = deque()
        self._owner: dict[Sample, Pending] = {}  # of every sample in the batch
        self._requests: set[Pending] = set()
        self._broken: EngineError | None = EngineError(f"model {model.name!r}: the engine is not started")

    async def start(self) -> None:
        # One thread for all that blocks: the event loop stays free, and torch's threads have one master.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="torch-engine")
        try:
            self._lm, self._batch = await self._work(self._load)
        except BaseException:
            self._worker.shutdown(wait=False)
            raise
        self._context = min(self._lm.context_tokens, self.options.context_tokens or self._lm.context_tokens)
        self.stats.limit = self._batch.limit
        self._broken = None
        self._wake = asyncio.Event()
        self._runner = asyncio.create_task(self._run())

    def _load(self) -> tuple[CausalLM, Batch]:
        if self.model.path is None:
            raise EngineError(f"model {self.model.name!r}: its reference was not resolved to a directory")
        # OpenMP reads this when torch is loaded. Threads that spin while they wait take cores from all else:
        # beside two busy processes on 2 cores, passive ones gave 3 to 10 times the tokens a second.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import torch

        from raygen.engines.decoder import SlotDecoder
        from raygen.engines.slots import ATTENTION
        from raygen.models.causal_lm import load_causal_lm

        # Said outright: Ray sets OMP_NUM_THREADS by the CPUs that an actor asked for, and bits may depend on threads.
        torch.set_num_threads(self.options.threads or len(os.sched_getaffinity(0)))
        device = self.options.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            lm = load_causal_lm(self.model.path, self.model.spec.dtype, device, ATTENTION)
            decoder = SlotDecoder(lm.model, self.options.max_batch)
        except (
            RuntimeError,
            AssertionError,
        ) as error:  # no such device, a device without a driver, no memory
            raise EngineError(f"model {self.model.name!r} on device {device}: {error}") from error
        return lm, Batch(decoder, self.options.max_batch)

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        if self._broken is not None:
            raise self._broken
        messages = [_text_only(message) for message in request.messages]
        prompt = await self._work(lambda: self._lm.encode(messages))
        if self._broken is not None:  # it may have ended meanwhile
            raise self._broken
        if len(prompt) >= self._context:
            raise RowError(
                "prompt_too_long",
                f"the prompt has {len(prompt)} tokens; the context holds {self._context} with output",
            )
        rule = self._stop_rule(request, len(prompt))
        samples = [Sample(prompt, request.sampling, seed, rule) for seed in request.seeds]
        await self._finish(samples)
        output_tokens = sum(len(sample.tokens) for sample in samples)
        self.stats.requests += 1
        self.stats.prompt_tokens += len(prompt)
        self.stats.output_tokens += output_tokens
        return GenerateResult(
            [GeneratedSample(s.text, s.finish_reason or "stop", len(s.tokens)) for s in samples], len(prompt)
        )

    def _stop_rule(self, request: GenerateRequest, prompt_tokens: int) -> StopRule:
        stop = request.sampling.stop
        ids = (self._lm.special_id(string) for string in stop)
        specials = frozenset(token for token in ids if token is not None)
        limit = min(request.sampling.max_tokens, self._context - prompt_tokens)
        return StopRule(stop, self._lm.eos_ids | specials, limit, self._lm.decode)

    async def _finish(self, samples: list[Sample]) -> None:
        """Queue the samples and wait until all are done. Raises the first error of one."""
        if not samples:
            return
        pending = Pending(samples, asyncio.get_running_loop().create_future())
        self._requests.add(pending)
        self._waiting.extend((pending, sample) for sample in samples)
        self._count()
        self._wake.set()
        try:
            await pending.finished
        finally:
            for sample in samples:  # a cancelled request, or one with a broken sample, frees its slots
                sample.cancelled = sample.cancelled or not sample.done
            self._requests.discard(pending)
            self._count()
            self._wake.set()

    async def _run(self) -> None:
        """Step the batch as long as there is work; any error but a row's ends the engine."""
        try:
            while True:
                joining = self._next_samples()
                if not joining and not self._owner:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                self._count()
                for sample in await self._work(lambda: self._batch.step(joining)):  # noqa: B023 - awaited at once
                    self._settle(self._owner.pop(sample), sample)
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody may wait for ever
            self._end(EngineError(f"model {self.model.name!r} stopped: {type(error).__name__}: {error}"))

    def _next_samples(self) -> list[Sample]:
        joining: list[Sample] = []
        while self._waiting and len(self._owner) < self._batch.limit:
            pending, sample = self._waiting.popleft()
            if not sample.cancelled:
                pending.started = True
                self._owner[sample] = pending
                joining.append(sample)
        return joining

    def _settle(self, pending: Pending, sample: Sample) -> None:
        if pending.finished.done():
            return
        if sample.error is not None:
            pending.finished.set_exception(sample.error)
        elif all(other.done for other in pending.samples):
            pending.finished.set_result(None)

    def _count(self) -> None:
        self.stats.in_flight = len(self._owner)
        self.stats.waiting = sum(not sample.cancelled for _, sample in self._waiting)

    def _end(self, reason: EngineError) -> None:
        self._broken = reason
        for pending in self._requests:
            if not pending.finished.done():
                pending.finished.set_exception(reason)

    async def _work(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, function)

    async def close(self) -> None:
        if self._broken is None:
            self._end(EngineError(f"model {self.model.name!r}: the engine is closed"))
            self._runner.cancel()
            with suppress(asyncio.CancelledError):
                await self._runner
        if hasattr(self, "_worker"):
            await asyncio.to_thread(self._worker.shutdown)
            vars(self).pop("_lm", None)
            vars(self).pop("_batch", None)

    @property
    def capacity(self) -> int:
        return int(self.options.max_batch)

    @property
    def version(self) -> str:
        return f"torch {version('torch')}, transformers {version('transformers')}"


def _text_only(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message with its content as one string.

    Raises:
        RowError: `engine_unsupported`, it holds an image; `invalid_messages`, it has no text.
    """
    content = message.get("content")
    if isinstance(content, str) or (content is None and "tool_calls" in message):
        return message
    parts: list[Any] = content if isinstance(content, list) else [content]
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("text", ""), str):
            raise RowError(
                "invalid_messages", f"a message's content is text or a list of parts, not {part!r:.80}"
            )
        if part.get("type") != "text":
            kind = part.get("type")
            raise RowError(
                "engine_unsupported", f"engine `torch` takes text only, not a part of type {kind!r}"
            )
    return {**message, "content": "".join(part.get("text", "") for part in parts)}
