"""Evaluations, an extension of the protocol: a check, a score or a metric of raygen's over texts, one by one.

What a job says below `verify` or `score` is said here below `check` or `score`. Only raygen's own, by their names: a body
names no class, no file and no function.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import orjson
from pydantic import Field, ValidationError

from raygen.config.one_of import OneOf
from raygen.engines import engine_facts
from raygen.engines.requests import GeneratedSample
from raygen.errors import ConfigError, MetricInputError, RowError
from raygen.extras import explained
from raygen.metrics.classification import classification_metrics
from raygen.steps.checks import CHECKS
from raygen.steps.context import Context
from raygen.steps.inner import HoldingStep
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.score import Score, ScoreStep
from raygen.steps.scores import SCORES
from raygen.steps.verify import Verify, VerifyStep
from raygen.usage import PROMPT_TOKENS, Usage
from raygen.wire.base import Answered, Asked, Endpoint, Served, WireModel
from raygen.wire.errors import ApiError, api_error
from raygen.wire.text.usage import BYTES_PER_TOKEN

MOST_ITEMS = 2048
FORBIDDEN = frozenset({"python"})  # runs functions of whoever wrote the job
FORBIDDEN_KEYS = frozenset({"path"})  # reads files
METRICS = ("classification",)


class Item(WireModel):
    """What is looked at: a text, with columns that templates may name; for a metric a label beside its prediction."""

    text: str | None = None
    row: dict[str, Any] = {}
    label: str | None = None
    prediction: str | None = None


class EvaluationsBody(WireModel):
    """The body of an evaluation: one of `check`, `score` and `metric`, and items."""

    model: str | None = None
    check: dict[str, Any] | None = None
    score: dict[str, Any] | None = None
    metric: str | None = None
    items: Annotated[list[Item], Field(min_length=1, max_length=MOST_ITEMS)]


class Evaluations(Endpoint[EvaluationsBody]):
    """Evaluations: checks, scores and metrics of items, one by one."""

    path = "/v1/evaluations"
    verb = ""  # what the check or score asks for
    Body = EvaluationsBody
    model_optional = True

    def check(self, body: EvaluationsBody, served: Served) -> None:
        given = [key for key in ("check", "score", "metric") if getattr(body, key) is not None]
        if len(given) != 1:
            raise ApiError(400, "invalid_value", "give exactly one of check, score and metric", "check")
        if body.metric is not None:
            if body.metric not in METRICS:
                raise ApiError(
                    400,
                    "invalid_value",
                    f"metric: no metric {body.metric!r}; metrics: {', '.join(METRICS)}",
                    "metric",
                )
            return
        self._step(body, served, 0)

    def reserve(self, body: EvaluationsBody) -> Usage:
        size = sum(len(orjson.dumps(item.text)) for item in body.items)
        return Usage({PROMPT_TOKENS: size // BYTES_PER_TOKEN + 1})

    async def answer(self, body: EvaluationsBody, served: Served, asked: Asked) -> Answered:
        whole: dict[str, Any] = {
            "id": f"eval-{asked.request_id}",
            "object": "evaluation",
            "created": asked.created_s,
            "model": body.model,
        }
        if body.metric is not None:
            return Answered({**whole, "n": len(body.items), "metrics": _classification(body)}, Usage())
        step = self._step(body, served, asked.seed)
        calls = Calls({served.model.name: served.engine}, {})
        data = [
            await self._one(step, item, number, served, calls, asked)
            for number, item in enumerate(body.items)
        ]
        whole |= {"data": data, "n": len(data), "aggregate": _aggregate(data), "usage": dict(calls.usage)}
        return Answered(whole, calls.usage)

    async def _one(
        self, step: HoldingStep, item: Item, number: int, served: Served, calls: Calls, asked: Asked
    ) -> dict[str, Any]:
        """Look at one item. What is wrong with it is said in its place; the others go on."""
        story = Story(f"{asked.request_id}-{number}", item.row)
        draft = story.draft("item", "", 0, asked.seed, GeneratedSample(item.text or "", "stop", None), None)
        found: dict[str, Any] = {"index": number, "error": None}
        try:
            if item.text is None:
                raise ApiError(
                    400, "missing_required_parameter", "text: it is required, and not there", "text"
                )
            return found | await _looked_at(step, story, draft, calls)
        except (RowError, ApiError) as error:
            told = api_error(error)
            return found | {"error": {"code": told.code, "message": told.message}}

    def _step(self, body: EvaluationsBody, served: Served, seed: int) -> HoldingStep:
        """Return the step that holds what is asked for. Raises ApiError, naming the key."""
        kind, config = ("check", body.check) if body.check is not None else ("score", body.score)
        described: type[OneOf] = Verify if kind == "check" else Score
        registry = CHECKS if kind == "check" else SCORES
        assert config is not None
        allowed = [name for name in registry.own if name not in FORBIDDEN]
        for name in config:
            if name not in allowed:
                raise ApiError(
                    400, "invalid_value", f"{kind}: no {kind} {name!r}; there are {', '.join(allowed)}", kind
                )
        if wrong := next(_dangerous(config), None):
            raise ApiError(400, "invalid_value", f"{kind}: {wrong}", kind)
        context = Context(seed, {served.model.name: served.model.spec}, ())
        try:
            read = described.model_validate(_named(config, body.model, served.model.name))
            for key, model, verb in read.kind.models(read.config):
                self._check_model(f"{kind}.{read.chosen}.{key}", model, verb, body, served)
            read.kind.check(read.config, kind, context)
            step_kind: type[HoldingStep] = VerifyStep if kind == "check" else ScoreStep
            return step_kind(read, kind, kind, context, ())
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            param = ".".join([kind, *map(str, fault["loc"])])
            raise ApiError(
                400, "invalid_value", f"{param}: {fault['msg'].removeprefix('Value error, ')}", param
            ) from None
        except (ValueError, ConfigError) as error:
            raise ApiError(400, "invalid_value", str(error), kind) from None

    def _check_model(self, key: str, model: str, verb: str, body: EvaluationsBody, served: Served) -> None:
        if body.model is None:
            raise ApiError(
                400, "missing_required_parameter", f"model: {key} asks a model; name it as `model`", "model"
            )
        if model != served.model.name:
            raise ApiError(
                400,
                "invalid_value",
                f"{key}: {model!r}; it is to be the `model` of the body, or left out",
                key,
            )
        if verb not in engine_facts(served.model.spec.engine).families.get(served.model.spec.family, ()):
            raise ApiError(
                400,
                "unsupported_parameter",
                f"model: {served.name!r} is a {served.model.spec.family}; {key} needs one that can {verb}",
                "model",
            )


async def _looked_at(step: HoldingStep, story: Story, draft: Draft, calls: Calls) -> dict[str, Any]:
    if isinstance(step, VerifyStep):
        verdict = (await step.inner.verdicts(story, [draft], calls))[0]
        scores = None if verdict.scores is None else dict(verdict.scores)
        told = {"passed": verdict.passed, "score": _number(verdict.score), "scores": scores}
        reason = None if verdict.passed else verdict.reason or step.inner.reason
        return told | {"reason": reason, "finding": verdict.finding}
    return {"score": _number((await step.inner.scores(story, [draft], calls))[0])}


def _named(config: dict[str, Any], model: str | None, name: str) -> dict[str, Any]:
    """Fill in the model: a body names it once, as clients know it."""
    filled = {}
    for key, value in config.items():
        described = dict(value) if isinstance(value, dict) else {}
        fields = getattr((CHECKS if key in CHECKS.own else SCORES).load(key).Config, "model_fields", {})
        if "model" in fields and model is not None and described.get("model", model) == model:
            described["model"] = name
        filled[key] = described if isinstance(value, dict) or value is None else value
    return filled


def _dangerous(value: Any) -> Iterator[str]:
    """Yield what a body must not say: names of files, and templates that compute."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in FORBIDDEN_KEYS:
                yield f"{key!r} reads a file, which a request may not"
            yield from _dangerous(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _dangerous(inner)
    elif isinstance(value, str) and "{%" in value:
        yield "templates of requests hold names alone, such as {{ question }}"


def _number(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) else None


def _aggregate(data: list[dict[str, Any]]) -> dict[str, Any]:
    good = [each for each in data if each["error"] is None]
    scores = [each["score"] for each in good if each.get("score") is not None]
    told: dict[str, Any] = {"n": len(good), "errors": len(data) - len(good)}
    if any("passed" in each for each in good):
        told["passed"] = sum(each["passed"] for each in good)
        told["pass_rate"] = told["passed"] / len(good)
    if scores:
        told["mean_score"] = sum(scores) / len(scores)
    return told


def _classification(body: EvaluationsBody) -> dict[str, float]:
    """Return accuracy, F1 and the like of predictions. Raises ApiError."""
    for number, item in enumerate(body.items):
        if item.label is None or item.prediction is None:
            raise ApiError(
                400,
                "missing_required_parameter",
                f"items.{number}: a metric needs `label` and `prediction`",
                f"items.{number}",
            )
    names = sorted(
        {name for item in body.items for name in (item.label, item.prediction) if name is not None}
    )
    try:
        import numpy as np

        places = {name: number for number, name in enumerate(names)}
        certain = np.eye(len(names))[[places[item.prediction or ""] for item in body.items]]
        labels = np.array([places[item.label or ""] for item in body.items])
        found = classification_metrics(certain, labels, names)
    except MetricInputError as error:
        raise ApiError(400, "invalid_value", str(error), "items") from None
    except ImportError as error:
        missing = explained(error)
        raise ApiError(
            501, "not_installed", "the server lacks the packages of this metric" if missing else "no metric"
        ) from None
    return {name: value for name, value in found.metrics.items() if name != "ece"}
