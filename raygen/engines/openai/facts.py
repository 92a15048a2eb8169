"""Facts of the OpenAI engine: what a job may say of an endpoint, and what an endpoint does not take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator

from raygen.config.constraint import Constraint
from raygen.engines.facts import EngineFacts
from raygen.engines.openai.options import EndpointOptions

SAMPLING_FIELDS = {"temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "stop"}
RESERVED_FIELDS = {"model", "messages", "n", "seed", "stream"} | SAMPLING_FIELDS


class OpenAIFacts(EngineFacts):
    """Language models behind an OpenAI-compatible endpoint."""

    engine = "raygen.engines.openai.engine:OpenAIEngine"
    has_weights = False
    replayable = False
    inputs = frozenset({"text", "image"})
    takes_constraints = True
    takes_tools = True
    deciding_options = frozenset({"extra_body", "send_seed", "one_request_per_sample"})

    class Options(EndpointOptions):
        """What a job may say under `options` of a model behind an endpoint."""

        max_retries: int = Field(6, ge=0, le=100, description="after errors; refusals (429) are not counted")
        max_refused_s: float = Field(
            3600.0,
            gt=0,
            description="an endpoint that answers nobody for so long ends the run, which can be resumed; a row that is "
            "refused (429) for so long while others are answered fails",
        )
        start_patience_s: float = Field(
            30.0, ge=0, description="how long an endpoint may be missing of which nothing was heard yet"
        )
        extra_body: dict[str, Any] = Field({}, description="further fields of every request's body")
        structured_outputs: bool = Field(
            False, description="the endpoint takes vLLM's `structured_outputs`: choice, regex, grammar"
        )
        one_request_per_sample: bool = Field(False, description="for endpoints that refuse `n`")
        send_seed: bool = Field(True, description="false: for endpoints that refuse `seed`")
        max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
            "max_tokens", description="what the endpoint calls the bound of a text's length"
        )

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
