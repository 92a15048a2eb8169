"""Evaluations, an extension of the protocol: a check, a score or a metric of raygen's over texts, one by one.

What a job says below `verify` or `score` is said here below `check` or `score`. Only raygen's own, by their names: a body
names no class, no file and no function.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypeVar

import orjson
from pydantic import Field

from raygen.engines.requests import GeneratedSample
from raygen.errors import EngineError, MetricInputError, RowError, UnavailableError
from raygen.extras import explained
from raygen.metrics.classification import classification_metrics
from raygen.steps.inner import HoldingStep
from raygen.steps.requested import asks_model, check_description, step_of
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story
from raygen.steps.verify import VerifyStep
from raygen.usage import PROMPT_TOKENS, Usage
from raygen.wire.base import Answered, Asked, Endpoint, Served, WireModel
from raygen.wire.errors import ApiError, api_error
from raygen.wire.text.asking import at_once
from raygen.wire.text.usage import BYTES_PER_TOKEN

log = logging.getLogger(__name__)

MOST_ITEMS = 2048
AT_ONCE = 8  # items of a body that a model is asked for at a time
COMPUTE_S = 20.0  # of a body whose check or score asks no model
METRICS = ("classification",)
# Codes of rows whose message is about the item, in raygen's own words.
OF_THE_ITEM = frozenset(
    {"missing_column", "missing_value", "not_text", "pattern_timeout", "schema_timeout", "empty_text"}
)
FAILED = "this item could not be evaluated"
_WORKERS = ThreadPoolExecutor(2, "evaluation")
T = TypeVar("T")


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
        if body.metric is None:
            check_description(*_described(body))
        elif body.metric not in METRICS:
            words = f"metric: no metric {body.metric[:80]!r}; metrics: {', '.join(METRICS)}"
            raise ApiError(400, "invalid_value", words, "metric")

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
            metrics = await _beside(_classification, body)
            return Answered({**whole, "n": len(body.items), "metrics": metrics}, Usage())
        step = await _beside(step_of, *_described(body), body.model, served, asked.seed)
        calls = Calls({served.model.name: served.engine}, {})
        items = _Items(step, body.items, calls, asked)
        data = await (items.at_once() if asks_model(step) else items.beside())
        whole |= {"data": data, "n": len(data), "aggregate": _aggregate(data), "usage": dict(calls.usage)}
        return Answered(whole, calls.usage)


class _Items:
    """What is found of the items of one body. What is wrong with one is said in its place; the others go on."""

    def __init__(self, step: HoldingStep, items: Sequence[Item], calls: Calls, asked: Asked) -> None:
        self._step, self._items, self._calls, self._asked = step, items, calls, asked

    async def at_once(self) -> list[dict[str, Any]]:
        """Ask the model for several items at a time. Raises EngineError, UnavailableError."""
        return await at_once((self._one(number) for number in range(len(self._items))), AT_ONCE)

    async def beside(self) -> list[dict[str, Any]]:
        """Compute all items in a thread, for a bounded time, and no longer than somebody waits."""
        left = threading.Event()
        try:
            return await _beside(self._computed, left)
        finally:
            left.set()

    def _computed(self, left: threading.Event) -> list[dict[str, Any]]:
        deadline = time.monotonic() + COMPUTE_S

        async def all_of_them() -> list[dict[str, Any]]:
            found = []
            for number in range(len(self._items)):
                if left.is_set() or time.monotonic() > deadline:
                    words = f"the items before it took {COMPUTE_S:g} s; ask for fewer at a time"
                    found.append(_fault(number, "evaluation_timeout", words))
                else:
                    found.append(await self._one(number))
            return found

        return asyncio.run(all_of_them())

    async def _one(self, number: int) -> dict[str, Any]:
        item = self._items[number]
        if item.text is None:
            return _fault(number, "missing_required_parameter", "text: it is required, and not there")
        story = Story(f"{self._asked.request_id}-{number}", item.row)
        draft = story.draft("item", "", 0, self._asked.seed, GeneratedSample(item.text, "stop", None), None)
        try:
            return {"index": number, "error": None} | await self._looked_at(story, draft)
        except RowError as error:
            told = api_error(error)
            words = error.message if error.code in OF_THE_ITEM else told.message
            return _fault(
                number, told.code, words if error.code in OF_THE_ITEM or told.status < 500 else FAILED
            )
        except (EngineError, UnavailableError):
            raise
        except Exception as error:  # noqa: BLE001 - one item's, whatever it was
            log.warning("evaluation %s, item %d: %s", self._asked.request_id, number, type(error).__name__)
            return _fault(number, "internal_error", FAILED)

    async def _looked_at(self, story: Story, draft: Draft) -> dict[str, Any]:
        inner = self._step.inner
        if isinstance(self._step, VerifyStep):
            verdict = (await inner.verdicts(story, [draft], self._calls))[0]
            scores = None if verdict.scores is None else dict(verdict.scores)
            told = {"passed": verdict.passed, "score": _number(verdict.score), "scores": scores}
            reason = None if verdict.passed else verdict.reason or inner.reason
            return told | {"reason": reason, "finding": verdict.finding}
        return {"score": _number((await inner.scores(story, [draft], self._calls))[0])}


async def _beside(work: Callable[..., T], *given: Any) -> T:
    """Do work in a thread: it may take a second, and others are not to wait for it."""
    return await asyncio.get_running_loop().run_in_executor(_WORKERS, work, *given)


def _described(body: EvaluationsBody) -> tuple[str, dict[str, Any]]:
    """Return what is asked for, and its description."""
    return ("check", body.check) if body.check is not None else ("score", body.score or {})


def _fault(number: int, code: str, message: str) -> dict[str, Any]:
    return {"index": number, "error": {"code": code, "message": message}}


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
