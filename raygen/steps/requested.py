"""Requested: a check or a score that a request's body describes: one of raygen's own, bounded, without code of its own.

What a job may say is more: whoever writes a job runs it. A body's templates hold names alone, its parts name no file and no
function.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from pydantic import ValidationError

from raygen.config.one_of import OneOf
from raygen.data.text.template import Template
from raygen.errors import ConfigError
from raygen.steps.checks import CHECKS
from raygen.steps.context import Context
from raygen.steps.inner import HoldingStep
from raygen.steps.score import Score, ScoreStep
from raygen.steps.scores import SCORES
from raygen.steps.verify import Verify, VerifyStep
from raygen.wire.base import Served
from raygen.wire.errors import ApiError
from raygen.wire.facts import verbs_of

LONGEST = 16_384  # bytes of a description as JSON
# Deny by default: one is added here when it is known to run nothing, to read nothing, and to end in time.
ALLOWED = {
    "check": ("consistency", "entailment", "equals", "json_schema", "judge", "language", "length", "matches"),
    "score": ("entailment", "length", "perplexity", "similarity", "wordlist"),
}
READ_FILES = {("wordlist", "path")}
REGISTRIES = {"check": CHECKS, "score": SCORES}
# `{{ question }}`, `{{ person.name }}`, and text around them.
NAMES_ALONE = re.compile(r"(?:[^{]|\{(?![{%#])|\{\{\s*[^\W\d]\w*(?:\.[^\W\d]\w*)*\s*\}\})*")


class _Names:
    """A step whose templates compute nothing, so that they take no longer than it takes to print a row."""

    def template(self, text: str, key: str, given: frozenset[str] = frozenset()) -> Template:
        if NAMES_ALONE.fullmatch(text) is None:
            raise ConfigError(f"{key}: templates of requests hold names alone, such as {{{{ question }}}}")
        made: Template = super().template(text, key, given)  # type: ignore[misc]
        return made


class _Verify(_Names, VerifyStep):
    """A check of a body."""


class _Score(_Names, ScoreStep):
    """A score of a body."""


def check_description(kind: str, description: dict[str, Any]) -> None:
    """Look at what can be seen at once. Raises ApiError: none of raygen's own, too long, or a part that no request may have."""
    for name in description:
        if name not in ALLOWED[kind]:
            raise _refused(kind, f"no {kind} {name[:80]!r}; there are {', '.join(ALLOWED[kind])}")
    if len(description) != 1:
        raise _refused(kind, f"exactly one of {', '.join(ALLOWED[kind])}")
    (name, config), *_ = description.items()
    if config is None:
        raise _refused(kind, f"{name}: null; an empty object if there is nothing to say")
    try:
        size = len(orjson.dumps(description))
    except TypeError:  # what orjson says of it
        raise _refused(kind, "nested too deeply") from None
    if size > LONGEST:
        raise _refused(kind, f"longer than {LONGEST:,} bytes as JSON")
    for key in config if isinstance(config, dict) else ():
        if (name, key) in READ_FILES:
            raise _refused(kind, f"{name}.{key} reads a file, which a request may not")


def step_of(
    kind: str, description: dict[str, Any], model: str | None, served: Served, seed: int
) -> HoldingStep:
    """Return the step that holds what is described. May take a while: patterns and schemas are looked at.

    Args:
        kind: `check` or `score`.
        model: as the body names it; None: it names none.

    Raises:
        ApiError: it cannot be, naming the key.
    """
    context = Context(seed, {served.model.name: served.model.spec}, ())
    described: type[OneOf] = Verify if kind == "check" else Score
    try:
        read = described.model_validate(_with_model(kind, description, model, served.model.name))
        for key, asked, verb in read.kind.models(read.config):
            _check_model(f"{kind}.{read.chosen}.{key}", asked, verb, model, served)
        read.kind.check(read.config, f"{kind}.{read.chosen}", context)
        made = _Verify if kind == "check" else _Score
        return made(read, kind, kind, context, ())
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        param = ".".join([kind, *map(str, fault["loc"])])
        raise ApiError(
            400, "invalid_value", f"{param}: {fault['msg'].removeprefix('Value error, ')}", param
        ) from None
    except (ValueError, ConfigError) as error:
        raise ApiError(400, "invalid_value", str(error)[:500], kind) from None
    except RecursionError:
        raise _refused(kind, "nested too deeply") from None


def asks_model(step: HoldingStep) -> bool:
    """Return whether a step asks a model; else it computes by itself."""
    return any(True for _ in step.models(step.config))


def _with_model(kind: str, description: dict[str, Any], model: str | None, name: str) -> dict[str, Any]:
    """Fill in the model's own name: a body names it once, as clients know it."""
    filled = dict(description)
    for key, value in description.items():
        fields = getattr(REGISTRIES[kind].load(key).Config, "model_fields", {})
        if "model" in fields and model is not None and isinstance(value, dict):
            given = dict(value)
            filled[key] = {**given, "model": name} if given.get("model", model) == model else given
    return filled


def _check_model(key: str, asked: str, verb: str, model: str | None, served: Served) -> None:
    if model is None:
        raise ApiError(
            400, "missing_required_parameter", f"model: {key} asks a model; name it as `model`", "model"
        )
    if asked != served.model.name:
        raise ApiError(
            400, "invalid_value", f"{key}: {asked!r}; it is to be the `model` of the body, or left out", key
        )
    if served.adapter is not None:
        raise ApiError(400, "unsupported_parameter", f"model: {key} asks models, and no adapters", "model")
    if verb not in verbs_of(served):
        raise ApiError(
            400,
            "unsupported_parameter",
            f"model: {served.name!r} is a {served.model.spec.family}; {key} needs one that can {verb}",
            "model",
        )


def _refused(kind: str, why: str) -> ApiError:
    return ApiError(400, "invalid_value", f"{kind}: {why}", kind)
