"""The OpenAI engine: any OpenAI-compatible endpoint, over POST {base_url}/chat/completions."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from raygen.config.sampling import Sampling
from raygen.engines.base import Engine
from raygen.engines.openai.admission import Admission
from raygen.engines.openai.backoff import RetryBudget
from raygen.engines.openai.breaker import Breaker, Why
from raygen.engines.openai.chat_completions import (
    LONGEST_MESSAGE,
    Action,
    Answer,
    Trouble,
    read_answer,
    request_body,
)
from raygen.engines.openai.circuit import Circuit
from raygen.engines.openai.end import EndpointEnd
from raygen.engines.openai.event_stream import STREAM_FIELDS
from raygen.engines.openai.facts import OpenAIFacts
from raygen.engines.openai.gate import Gate
from raygen.engines.openai.http import MESSAGE_CHARS, EndpointHTTP
from raygen.engines.openai.words import option_hint
from raygen.engines.requests import GenerateRequest, GenerateResult
from raygen.errors import RowError
from raygen.models.resolved import ResolvedModel

if TYPE_CHECKING:
    pass

SEEDS = 2**31  # endpoints refuse larger ones: many hold a seed in 32 bits with a sign


class OpenAIEngine(OpenAIFacts, Engine):
    """`ref` is the endpoint's name of the model. One adaptive limit holds for all, retries too."""

    def __init__(self, model: ResolvedModel) -> None:
        super().__init__(model)
        self._http: EndpointHTTP | None = None
        self.stats.extra = {
            "refused_429": 0,
            "retries": 0,
            "http_errors": 0,
            "usage_missing": 0,
            "logprobs_missing": 0,
        }

    async def start(self) -> None:
        """Open the connection pool; nothing is sent. Raises EngineConfigError: a variable or file that is named is of no use."""
        user_agent = self.version.replace(" ", "/")
        self._http = EndpointHTTP(f"model {self.model.name!r}", self.options, user_agent)
        options = self.options
        self._gate = Gate(Admission(options.concurrency), self.stats)
        breaker = Breaker(start_patience_s=options.start_patience_s, max_refused_s=options.max_refused_s)
        self._circuit = Circuit(
            breaker, self._gate, self.stats, name=self.model.name, probe=self._probe, words=self._end_words
        )

    async def close(self) -> None:
        if self._http is not None:
            await self._circuit.close()
            await self._http.close()

    def others_are_answered(self) -> None:
        self._circuit.breaker.others_worked = True

    @property
    def capacity(self) -> int:
        return int(self.options.concurrency)

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """Return one sample for every seed: from one request (`n`), from as many as it takes, or one each.

        Raises RowError: bad_request, prompt_too_long, blocked, endpoint_4xx, endpoint_unavailable, bad_answer, timeout.
        EngineError: nobody is answered any more, or may be; every later call fails alike.
        """
        self.check_generate(request)
        seeds = request.seeds
        if self.options.one_request_per_sample and len(seeds) > 1:
            answers = await self._ask_each(request)
        else:
            answers = [await self._ask(request, seeds)]
            # An endpoint may give fewer choices than asked for, but never none.
            while (have := sum(len(answer.samples) for answer in answers)) < len(seeds):
                answers.append(await self._ask(request, seeds[have:]))
        result = GenerateResult([s for answer in answers for s in answer.samples], answers[0].prompt_tokens)
        stats = self.stats
        stats.requests += 1
        stats.usage += result.usage
        return result

    async def _ask_each(self, request: GenerateRequest) -> list[Answer]:
        tasks = [asyncio.ensure_future(self._ask(request, [seed])) for seed in request.seeds]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()  # one failure fails the row: nobody waits for the others

    async def _ask(self, request: GenerateRequest, seeds: list[int]) -> Answer:
        """Ask once for the samples of these seeds, and again after faults that may pass.

        What has failed for good fails its row only if others are answered: else it is the endpoint's, and the row waits.
        A row whose connections break may be what takes the server down: it is asked for alone in the end.
        """
        budget = RetryBudget(self.options.max_retries, self.options.max_refused_s)
        again = alone = denied = False
        while True:
            answer = await self._send(request, seeds, again, alone)
            if isinstance(answer, Answer):
                if not answer.has_usage:
                    self.stats.extra["usage_missing"] += 1
                if request.sampling.logprobs is not None:
                    self.stats.extra["logprobs_missing"] += answer.without_logprobs
                return answer
            wait_s: float | None = 0.0
            failure = answer.message
            if answer.action is Action.ROW:
                raise self._refused(answer.code, failure)
            if answer.action is Action.DENIED:
                wait_s = None
            elif answer.action is Action.REFUSED:
                wait_s = 0.0 if budget.after_refusal(time.monotonic()) else None
            elif answer.action is Action.UNSENT:
                wait_s = budget.after_unsent()
            else:
                broke = answer.why == Why.BROKEN
                wait_s = budget.after_failure(
                    answer.asked_s, self._circuit.breaker.answers if broke else None
                )
                alone = broke and budget.half_spent
                failure = f"asked {budget.failures} times: {failure}"
            if wait_s is None:
                only_this = await self._circuit.others_are_answered()
                # All may have been denied for a moment, which is over by now: one denial is not enough.
                first_denial = answer.action is Action.DENIED and not denied
                denied |= first_denial
                if not first_denial and (only_this or not budget.pardon()):
                    raise self._refused(answer.code, failure)
            elif wait_s:
                await self._gate.back_off(wait_s)
            self.stats.extra["retries"] += 1
            again = True

    async def _send(
        self, request: GenerateRequest, seeds: list[int], again: bool, alone: bool
    ) -> Answer | Trouble:
        """Send one request when the gate lets it, and say how it went. Raises EngineError."""
        async with self._gate.slot(again, alone) as ticket:
            self._circuit.sent()
            # Built only now: with images, the bodies of all that wait would fill the memory.
            answer = await self._post(self._body(request, seeds), len(seeds))
            if isinstance(answer, Trouble):
                self.stats.extra["http_errors"] += 1
                self.stats.extra["refused_429"] += answer.why == 429
            self._circuit.heard(ticket, answer)
            return answer

    async def _probe(self) -> Answer | Trouble:
        """Ask for one token: is anybody answered?"""
        hello = [{"role": "user", "content": "Hello"}]
        request = GenerateRequest("probe", hello, Sampling(max_tokens=1), [0])
        return await self._post(self._body(request, [0]), 1)

    def _body(self, request: GenerateRequest, seeds: list[int]) -> bytes:
        options = self.options
        return request_body(
            self.model.spec.ref or "",
            request,
            samples=len(seeds),
            seed=seeds[0] % SEEDS if options.send_seed else None,
            max_tokens_field=options.max_tokens_field,
            extra=(STREAM_FIELDS if options.stream else {}) | options.extra_body,
        )

    async def _post(self, body: bytes, wanted: int) -> Answer | Trouble:
        assert self._http is not None, "start() comes first"
        reply = await self._http.post(body)
        if isinstance(reply, Trouble):
            return replace(reply, why=reply.why or Why.NONSENSE)
        answer = read_answer(reply.status, reply.raw, wanted, reply.asked_s)
        if isinstance(answer, Trouble):
            why = Why.NONSENSE if reply.status == 200 else reply.status
            answer = replace(answer, why=why, asked_s=reply.asked_s)
            hint = self._http.doubt(reply.status)
            if answer.code == "bad_request":
                hint = option_hint(answer.message, orjson.loads(body).keys())
            if hint is not None:
                said = self._http.clean(answer.message, MESSAGE_CHARS - len(hint) - 2)  # the hint is not cut
                answer = replace(answer, message=f"{said}; {hint}")
        return answer

    def _end_words(self, trouble: Trouble, since_s: float | None) -> str:
        """Say why the run ends as a whole."""
        assert self._http is not None
        options, breaker = self.options, self._circuit.breaker
        key, ref = options.credential, self.model.spec.ref or ""
        has_key = key is not None and (options.key_variable is None or bool(self._http.key))
        end = EndpointEnd(
            self.model.name, ref, options.base_url, key or "options.api_key_env", has_key=has_key
        )
        option = "start_patience_s" if breaker.limit_s == options.start_patience_s else "max_refused_s"
        patience = f"{breaker.limit_s:g} s ({option})"
        said = self._http.clean(trouble.message, LONGEST_MESSAGE if trouble.says_all else MESSAGE_CHARS)
        return end.words(trouble, said, since_s, patience, breaker.worked)

    def _refused(self, code: str, failure: str) -> RowError:
        public = {"prompt_too_long": "the prompt is longer than the model's context"}.get(code)
        return RowError(
            code, self._clean(failure), public=public or "the endpoint behind the model refuses the request"
        )

    def _clean(self, message: str) -> str:
        assert self._http is not None
        return self._http.clean(message)
