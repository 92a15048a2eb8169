"""Templated: what engines share that write prompts by a model's own chat template: options, and the template's rules."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from raygen.config.base import Frozen
from raygen.models.resolved import ResolvedModel
from raygen.models.text.chat_template import TemplateRules, refuse_given

TEMPLATE_OPTIONS = frozenset({"template", "data_as_text"})  # they decide what is generated


class TemplateOptions(Frozen):
    template: dict[str, Any] = Field(
        {},
        max_length=64,
        description="arguments of the model's chat template, such as enable_thinking: false",
    )

    data_as_text: bool = Field(
        False,
        description="control tokens such as <|im_end|> that stand in a row's texts are text, and nothing else",
    )

    _allowed = field_validator("template")(refuse_given)


def rules_of(model: ResolvedModel) -> TemplateRules:
    """Return how a run uses a model's chat template."""
    options = TemplateOptions.model_validate(
        {key: value for key, value in model.spec.options.items() if key in TEMPLATE_OPTIONS}
    )
    return TemplateRules(model.date, options.template, options.data_as_text, model.former)
