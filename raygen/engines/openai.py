"""The OpenAI engine: any OpenAI-compatible endpoint, over POST {base_url}/chat/completions."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import orjson
from pydantic import Field, field_validator

from raygen.engines.admission import Admission
from raygen.engines.backoff import RetryBudget
from raygen.engines.base import Engine, GenerateRequest, GenerateResult, ResolvedModel
from raygen.engines.chat_completions import (
    LONGEST_MESSAGE,
    Action,
    Answer,
    Trouble,
    read_answer,
    request_body,
)
from raygen.engines.endpoint_http import MESSAGE_CHARS, EndpointHTTP
from raygen.engines.endpoint_options import EndpointOptions
from raygen.engines.endpoint_words import option_hint
from raygen.engines.event_stream import STREAM_FIELDS
from raygen.engines.gate import Gate
from raygen.errors import EngineConfigError, EngineError, RowError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from raygen.constraint import Constraint

SAMPLING_FIELDS = {"temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "stop"}
SEEDS = 2**31  # endpoints refuse larger ones: many hold a seed in 32 bits with a sign
RESERVED_FIELDS = {"model", "messages", "n", "seed", "stream"} | SAMPLING_FIELDS


class OpenAIEngine(Engine):
    """`ref` is the endpoint's name of the model. One adaptive limit holds for all, retries too."""

    has_weights = False
    replayable = False
    accepts_images = True
    takes_constraints = True
    deciding_options = frozenset({"extra_body", "send_seed", "one_request_per_sample"})

    class Options(EndpointOptions):
        max_retries: int = Field(6, ge=0, le=100, description="after errors; refusals (429) are not counted")
        max_refused_s: float = Field(3600.0, gt=0, description="a row that is refused for longer fails")
        extra_body: dict[str, Any] = Field({}, description="further fields of every request's body")
        structured_outputs: bool = Field(
            False, description="the endpoint takes vLLM's `structured_outputs`: choice, regex, grammar"
        )
        one_request_per_sample: bool = False
        send_seed: bool = True
        max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

        @field_validator("extra_body")
        @classmethod
        def _not_the_jobs_own(cls, value: dict[str, Any]) -> dict[str, Any]:
            taken = sorted(RESERVED_FIELDS & value.keys())
            if taken:
                raise ValueError(f"{', '.join(taken)}: set by the job or the engine, not by extra_body")
            return value

    @classmethod
    def constraint_fault(cls, constraint: Constraint, options: Mapping[str, Any]) -> str | None:
        if constraint.kind != "json_schema" and not options.get("structured_outputs"):
            return (
                f"takes no `{constraint.kind}`, which the OpenAI API does not have; if the endpoint takes vLLM's "
                "`structured_outputs`, say so: options.structured_outputs: true"
            )
        for field in ("response_format", "structured_outputs"):
            if field in (options.get("extra_body") or {}):
                return f"takes no constraint beside options.extra_body.{field}"
        return None

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
        """Open the connection pool; nothing is sent. Raises EngineError: the key's variable is not set."""
        user_agent = self.version.replace(" ", "/")
        self._http = EndpointHTTP(f"model {self.model.name!r}", self.options, user_agent)
        self._gate = Gate(Admission(self.options.concurrency), self.stats)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    @property
    def capacity(self) -> int:
        return int(self.options.concurrency)

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """Return one sample for every seed: from one request (`n`), from as many as it takes, or one each.

        Raises RowError: bad_request, prompt_too_long, endpoint_4xx, endpoint_unavailable, bad_answer,
        timeout. EngineError: key or quota refused, no such model or path; every later call fails alike.
        """
        self.check_constraint(request.constraint)
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
        stats.prompt_tokens += result.prompt_tokens or 0
        stats.output_tokens += sum(sample.output_tokens or 0 for sample in result.samples)
        return result

    async def _ask_each(self, request: GenerateRequest) -> list[Answer]:
        tasks = [asyncio.ensure_future(self._ask(request, [seed])) for seed in request.seeds]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()  # one failure fails the row: nobody waits for the others

    async def _ask(self, request: GenerateRequest, seeds: list[int]) -> Answer:
        """Ask once for the samples of these seeds, and again after faults that may pass."""
        budget = RetryBudget(self.options.max_retries, self.options.max_refused_s)
        again = False
        while True:
            answer, asked_s = await self._send(request, seeds, again)
            if isinstance(answer, Answer):
                if not answer.has_usage:
                    self.stats.extra["usage_missing"] += 1
                if request.sampling.logprobs is not None:
                    self.stats.extra["logprobs_missing"] += answer.without_logprobs
                return answer
            if answer.action is Action.ROW:
                raise RowError(answer.code, self._clean(answer.message))
            if answer.action is Action.REFUSED:
                if not budget.after_refusal(time.monotonic()):
                    raise RowError(answer.code, self._clean(answer.message))
            else:
                wait_s = budget.after_failure(asked_s)
                if wait_s is None:
                    raise RowError(
                        answer.code, self._clean(f"asked {budget.failures} times: {answer.message}")
                    )
                await self._gate.back_off(wait_s)
            self.stats.extra["retries"] += 1
            again = True

    async def _send(
        self, request: GenerateRequest, seeds: list[int], again: bool
    ) -> tuple[Answer | Trouble, float | None]:
        """Send one request when the gate lets it, and tell the gate how it went.

        Returns the answer, and the seconds of silence that its `Retry-After` asks for. Raises EngineError.
        """
        ticket = await self._gate.enter(again)
        try:
            # Built only now: with images, the bodies of all that wait would fill the memory.
            answer, asked_s = await self._post(self._body(request, seeds), len(seeds))
        except BaseException:
            self._gate.failed(ticket)
            raise
        if isinstance(answer, Trouble):
            self.stats.extra["http_errors"] += 1
            if answer.overload:
                self._gate.refused(ticket, asked_s)
                return answer, asked_s
            if answer.action is Action.ENGINE:
                broken = self._broken(answer)  # shuts the gate before a slot becomes free
                self._gate.failed(ticket)
                raise broken
            if answer.action is Action.RETRY:
                self._gate.failed(ticket)
                return answer, asked_s
        self._gate.served(ticket)
        return answer, asked_s

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

    async def _post(self, body: bytes, wanted: int) -> tuple[Answer | Trouble, float | None]:
        assert self._http is not None, "start() comes first"
        reply = await self._http.post(body)
        if isinstance(reply, Trouble):
            return reply, None
        if reply.status == 429:
            self.stats.extra["refused_429"] += 1
        answer = read_answer(reply.status, reply.raw, wanted, reply.asked_s)
        if isinstance(answer, Trouble) and answer.code == "bad_request":
            hint = option_hint(answer.message, orjson.loads(body).keys())
            if hint is not None:
                said = self._http.clean(answer.message, MESSAGE_CHARS - len(hint) - 2)  # the hint is not cut
                answer = replace(answer, message=f"{said}; {hint}")
        return answer, reply.asked_s

    def _broken(self, trouble: Trouble) -> EngineError:
        """Shut the gate, and return the error that says why and what to do."""
        name, options = f"model {self.model.name!r}", self.options
        if trouble.code == "unreachable":
            assert self._http is not None
            message = (
                f"{name}: {self._http.clean(trouble.message, LONGEST_MESSAGE)}"  # says what to do: whole
            )
            self._gate.shut(message)
            return EngineConfigError(message)
        if trouble.code == "unauthorized":
            state = "is set" if self._http and self._http.key else "is not set"
            remedy = f"the key is refused: environment variable {options.api_key_env} {state}"
        elif trouble.code == "insufficient_quota":
            remedy = f"nothing is left to spend on the key in {options.api_key_env}"
        else:
            remedy = (
                f"no model {self.model.spec.ref!r}, or no chat completions, under base_url {options.base_url}"
            )
        message = f"{name}: {remedy}; the endpoint says: {self._clean(trouble.message)}"
        self._gate.shut(message)
        return EngineConfigError(message)

    def _clean(self, message: str) -> str:
        assert self._http is not None
        return self._http.clean(message)
