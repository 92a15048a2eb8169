"""The torch engine: causal LMs on this machine's CPU or GPU, by transformers' own model classes.

Requests join the running ones between two steps and leave when done (continuous batching). The tokens of a row
depend on its prompt, its sampling settings and its seeds alone: never on the batch, the order or a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib.metadata import version

from raygen.engines.requests import (
    GenerateChunk,
    GenerateRequest,
    GenerateResult,
    LikelihoodRequest,
    LikelihoodResult,
    TokenLogprob,
    TokenMask,
)
from raygen.engines.stepping import SteppingEngine, T
from raygen.engines.text_messages import text_only
from raygen.engines.torch.facts import TorchFacts
from raygen.engines.torch.likelihood import Scoring, tokens_of
from raygen.engines.torch.load import Loaded, load
from raygen.engines.torch.request import PendingSamples, SampleStream, finished, logprobs_of
from raygen.engines.torch.residents import Residents
from raygen.engines.torch.sample import Choice, Sample
from raygen.engines.torch.stopping import StopRule
from raygen.errors import EngineError, RowError
from raygen.models.resolved import ResolvedAdapter, ResolvedModel
from raygen.usage import OUTPUT_TOKENS, PROMPT_TOKENS

# What a step has ended: samples that got a token or failed, and likelihoods that are known.
Stepped = tuple[list[Sample], list[Scoring]]


class TorchEngine(TorchFacts, SteppingEngine[Sample, Stepped]):
    """One causal LM, which steps all running samples together."""

    def __init__(self, model: ResolvedModel) -> None:
        super().__init__(model)
        self._computes = ""  # with how many threads, and in which dtype when it is not the job's
        self._yardstick: str | None = None
        self._owner: dict[Sample, PendingSamples] = {}
        self._residents = Residents(model.adapters, self.options.max_adapters)
        self._loading = asyncio.Lock()  # one adapter at a time

    def _load(self) -> Loaded:
        return load(self.model, self.options)

    def _loaded(self, loaded: Loaded) -> None:
        self._lm, self._context, self._constraints = loaded.lm, loaded.context_tokens, loaded.constraints
        self._stepper, self._likelihoods, self._bank = loaded.stepper, loaded.likelihoods, loaded.bank
        self._turn, self._computes, self._yardstick = loaded.turn, loaded.computes, loaded.yardstick
        self._stepper.scheduler.batch_share = self.batch_share
        self.stats.limit = self.options.max_batch
        # What is asked is put into tokens beside the steps: on their thread it waits for one, and the next has begun by then.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="torch-reader")
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="torch-compiler")

    def _unload(self) -> None:
        for name in ("_reader", "_compiler"):
            if beside := vars(self).pop(name, None):
                beside.shutdown(wait=False)
        for name in ("_lm", "_stepper", "_constraints", "_likelihoods", "_bank"):
            vars(self).pop(name, None)

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        async with self._submitted(request) as pending:
            told = await self._told_of(pending, request)
            await pending.finished
        self._count_done(pending)
        samples = [finished(sample, self._lm.token_text) for sample in pending.samples]
        return GenerateResult(samples, len(pending.prompt), pending.reused, told)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[GenerateChunk]:
        """Yield text as it comes, sample by sample; the last piece of each has its finish reason.

        A caller that stops listening cancels the request. Raises what `generate` raises.
        """
        async with self._submitted(request) as pending:
            told = await self._told_of(pending, request)
            text = self._lm.token_text
            left = [SampleStream(index, sample, text) for index, sample in enumerate(pending.samples)]
            first = True
            while left:
                await pending.progress.wait()
                pending.progress.clear()
                if pending.finished.done():
                    pending.finished.result()  # raises
                for sample in left:
                    if (chunk := sample.next()) is None:
                        continue
                    if first:
                        chunk.prompt_tokens, chunk.cached_tokens = len(pending.prompt), pending.reused
                        chunk.prompt_logprobs, first = told, False
                    yield chunk
                left = [sample for sample in left if not sample.ended]
        self._count_done(pending)

    async def likelihood(self, request: LikelihoodRequest) -> LikelihoodResult:
        """Return the log-probability of every text: of its own tokens, without one that ends it.

        Raises:
            RowError: `prompt_too_long`, `invalid_messages`, `invalid_text`, `empty_prompt`, `unknown_adapter`, `nan_logits`.
            EngineError: the engine is broken or closed.
        """
        self._check_running()
        self.check_adapter(request.adapter)
        if not request.texts:
            return LikelihoodResult([], [], 0)
        with self._using(request.adapter) as adapter:
            before, texts = await self._read(lambda: tokens_of(request, self._lm, self._context))
            self._check_running()  # it may have ended meanwhile
            logprobs = (await self._likelihoods.ask(before, texts, adapter, self._wake)).logprobs
        counts = [len(text) for text in texts]
        self.stats.requests += 1
        self.stats.usage[PROMPT_TOKENS] += len(before) + sum(counts)
        return LikelihoodResult(logprobs, counts, len(before))

    def has_begun(self, request: GenerateRequest | LikelihoodRequest) -> bool:
        if isinstance(request, LikelihoodRequest):
            return True
        return any(pending.request is request and pending.begun for pending in self._requests)

    @property
    def adapters(self) -> Mapping[str, ResolvedAdapter]:
        return self._residents.adapters

    async def load_adapter(self, name: str, adapter: ResolvedAdapter) -> None:
        """Hold one more LoRA adapter from now on. One that is there already is no fault; no other row's text changes.

        Raises:
            RowError: `adapter_exists`, another one has the name; `too_many_adapters`.
            EngineConfigError: it is no plain LoRA, or of another model.
            EngineError: the engine is broken or closed.
        """
        self._check_running()
        async with self._loading:
            if (key := self._residents.place(name, adapter)) is None:
                return
            from raygen.models.text.lora import load_lora

            lora = await asyncio.to_thread(load_lora, adapter.path)
            self._check_running()
            try:
                await self._work(lambda: self._bank.add(key, lora, name))
            except asyncio.CancelledError:
                with suppress(RuntimeError):  # the engine is closed
                    self._worker.submit(self._bank.remove, key)  # behind what adds it
                raise
            self._residents.add(name, key, adapter)

    async def drop_adapter(self, name: str) -> None:
        """Let no new request use an adapter; it goes when the last one ends that does. Raises RowError `unknown_adapter`."""
        self._check_running()
        self.check_adapter(name)
        self._residents.drop(name)
        self._wake.set()

    @contextmanager
    def _using(self, name: str | None) -> Iterator[str | None]:
        """Hold an adapter for one request; gives its key. Raises RowError `unknown_adapter`."""
        self.check_adapter(name)
        try:
            with self._residents.using(name) as key:
                yield key
        finally:
            self._wake.set()  # it may be the last one

    @asynccontextmanager
    async def _submitted(self, request: GenerateRequest) -> AsyncIterator[PendingSamples]:
        """Queue a request's samples; what is not done at the end of the `with` is cancelled. Raises RowError, EngineError."""
        self._check_running()
        self.check_generate(request)
        with self._using(request.adapter) as adapter:
            async with self._queued(request, adapter) as pending:
                yield pending

    @asynccontextmanager
    async def _queued(self, request: GenerateRequest, adapter: str | None) -> AsyncIterator[PendingSamples]:
        messages = text_only(request.messages, "engine `torch`")
        prompt = await self._read(
            lambda: (
                self._lm.encode(messages, request.tools)
                if request.prompt is None
                else self._lm.encode_prompt(request.prompt)
            )
        )
        masks: Sequence[TokenMask | None] = [request.token_mask] * len(request.seeds)
        if request.constraint is not None:  # may take seconds: who brings none does not wait for it
            masks = await self._on(self._compiler, lambda: self._constraints.masks(request))
        self._check_running()  # it may have ended meanwhile
        if len(prompt) >= self._context:
            raise RowError(
                "prompt_too_long",
                f"the prompt has {len(prompt)} tokens; the context holds {self._context} with output",
            )
        rule = self._stop_rule(request, len(prompt))
        samples = [
            Sample(prompt, request.sampling, seed, rule, adapter, mask, request.priority)
            for seed, mask in zip(request.seeds, masks, strict=True)
        ]
        pending = PendingSamples(
            asyncio.get_running_loop().create_future(), request, prompt, adapter, samples
        )
        if not samples:
            pending.settle()
        self._requests.add(pending)
        self._owner.update(dict.fromkeys(samples, pending))
        self._inbox.extend(samples)
        self._wake.set()
        try:
            yield pending
        finally:
            for sample in samples:  # a cancelled request, or one with a broken sample, frees its slots
                sample.cancelled = sample.cancelled or not sample.done
                self._owner.pop(sample, None)
            self._requests.discard(pending)
            self._wake.set()

    async def _read(self, function: Callable[[], T]) -> T:
        """Run a function beside the steps, one at a time: what it reads no step changes."""
        return await self._on(self._reader, function)

    async def _on(self, beside: ThreadPoolExecutor, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(beside, function)

    async def _told_of(self, pending: PendingSamples, request: GenerateRequest) -> list[TokenLogprob] | None:
        """Return how probable the prompt's tokens are, where that is asked for. Raises RowError `nan_logits`, EngineError."""
        if request.prompt_logprobs is None:
            return None
        first, rest = pending.prompt[:1], pending.prompt[1:]
        scored = await self._likelihoods.ask(
            first, [rest], pending.adapter, self._wake, request.prompt_logprobs
        )
        return logprobs_of([Choice(first[0]), *scored.choices], self._lm.token_text)

    def _count_done(self, pending: PendingSamples) -> None:
        self.stats.requests += 1
        self.stats.usage[PROMPT_TOKENS] += len(pending.prompt)

    def _stop_rule(self, request: GenerateRequest, prompt_tokens: int) -> StopRule:
        stop = request.sampling.stop
        ends = self._lm.end_ids(stop)
        limit = min(request.sampling.max_tokens, self._context - prompt_tokens)
        return StopRule(
            stop,
            ends | set(request.sampling.stop_token_ids),
            limit,
            self._lm.decode if request.constraint is None else self._constraints.decode,
            min_tokens=request.sampling.min_tokens,
        )

    def _step(self, joining: list[Sample]) -> Stepped:
        # Requests that used these have ended: none of their samples is left when this step has begun.
        leaving = self._residents.leaving
        gone = [leaving.popleft() for _ in range(len(leaving))]
        with self._turn:
            touched = self._stepper.step(joining)
        scored: list[Scoring] = []
        if self._likelihoods.busy:
            with self._turn:
                scored = self._likelihoods.step()
        for adapter in gone:
            self._bank.remove(adapter)
            self._stepper.forget(adapter)
        return touched, scored

    def _settle(self, done: Stepped) -> bool:
        touched, scored = done
        self._measure()
        self._likelihoods.settle(scored)
        for sample in touched:
            self._settle_sample(sample)
        return bool(touched or scored or self._stepper.busy or self._likelihoods.busy)

    def _settle_sample(self, sample: Sample) -> None:
        self.stats.usage[OUTPUT_TOKENS] += sample.error is None
        pending = self._owner.get(sample)
        if pending is None or pending.finished.done():
            return
        if sample.error is not None:
            pending.settle(sample.error)
        elif all(other.done for other in pending.samples):
            pending.settle()
        else:
            pending.progress.set()

    def _measure(self) -> None:
        self.stats.in_flight = self._stepper.running
        self.stats.waiting = self._stepper.waiting + len(self._inbox)
        self.stats.extra.update(self._stepper.figures())

    def _end(self, reason: EngineError) -> None:
        super()._end(reason)
        self._likelihoods.end(reason)

    @property
    def capacity(self) -> int:
        return int(self.options.max_batch)

    @property
    def yardstick(self) -> str | None:
        return self._yardstick

    @property
    def version(self) -> str:
        parts = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "llguidance"))
        return f"{parts}{self._computes}"
