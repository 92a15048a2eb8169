"""What is known of a served model before it is asked: its engine's facts, and whether it answers a verb."""

from __future__ import annotations

from pydantic import BaseModel

from raygen.engines import engine_facts
from raygen.engines.facts import EngineFacts
from raygen.engines.forwarding import ForwardingEngine
from raygen.engines.requests import VERBS
from raygen.wire.base import Served
from raygen.wire.errors import ApiError

# Keys that say how texts are drawn.
DRAWN = (
    "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty",
    "max_tokens", "max_completion_tokens", "min_tokens", "logit_bias", "stop", "stop_token_ids", "logprobs",
)  # fmt: skip


def facts_of(served: Served) -> type[EngineFacts]:
    """Return the facts of the engine that answers: what stands for it elsewhere has none of its own."""
    if isinstance(served.engine, ForwardingEngine):
        return engine_facts(served.model.spec.engine)
    return type(served.engine)


def verbs_of(served: Served) -> frozenset[str]:
    """Return the verbs that a model answers: those of its family, where its engine tells families apart."""
    facts = facts_of(served)
    return facts.families.get(served.model.spec.family, facts.verbs)


def check_verb(served: Served, verb: str, path: str) -> None:
    """Refuse a model that does not answer what an endpoint asks. Raises ApiError `unsupported_model`."""
    if verb not in verbs_of(served):
        raise ApiError(
            400, "unsupported_model", f"model {served.name!r} {VERBS[verb]}: {path} does not take it", "model"
        )


def unsupported(served: Served, param: str, lack: str) -> ApiError:
    """Return the refusal of a setting that a model cannot keep."""
    return ApiError(400, "unsupported_parameter", f"{param}: model {served.name!r} {lack}", param)


def check_drawn(served: Served, body: BaseModel) -> None:
    """Refuse settings of how texts are drawn where the model's own program says so. Raises ApiError."""
    if facts_of(served).takes_sampling:
        return
    for key in DRAWN:
        if getattr(body, key, None) is not None:
            raise unsupported(served, key, "is a program, whose steps say how texts are drawn")
