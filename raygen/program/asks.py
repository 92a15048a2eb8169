"""Asks: what a job's steps ask of its language models, and what of it would not reach them. Refused before work."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from raygen.engines import engine_facts
from raygen.engines.templated import rules_of
from raygen.errors import ConfigError
from raygen.models.resolved import ResolvedModel
from raygen.models.text.chat_template import may_draw
from raygen.program.program import Program
from raygen.steps.base import Ask


def check_asks(program: Program, models: Mapping[str, ResolvedModel]) -> None:
    """Look at what the steps of a run ask of its models, dated, before it begins.

    A chat template is only rendered where something depends on it: to load a tokenizer takes seconds.

    Raises:
        ConfigError: a date that no chat template prints; token ids outside a model's vocabulary; a system text, or tools,
            that a chat template leaves out or refuses; arguments that it never reads; one that draws at random. It names
            the key.
        EngineConfigError: the model has no tokenizer that loads.
    """
    if program.job.date is not None and all(model.date is None for model in models.values()):
        raise ConfigError("date: no chat template of this job's models prints one; leave it out")
    asks = [ask for step in program.steps for ask in step.asks]
    for ask in asks:
        _check_ids(ask, models[ask.model])
    for name, model in models.items():
        if model.path is None or not engine_facts(model.spec.engine).templated:
            continue
        of_model = [ask for ask in asks if ask.model == name]
        wants_system = [ask for ask in of_model if ask.system]
        wants_tools = [ask.tools for ask in of_model if ask.tools]
        rules = rules_of(model)
        if not (
            wants_system or wants_tools or rules.arguments or rules.data_as_text or may_draw(Path(model.path))
        ):
            continue
        from raygen.models.text.chat_tokenizer import load_chat_tokenizer

        chat = load_chat_tokenizer(model.path, rules)
        template = chat.template
        if fault := template.argument_fault():
            raise ConfigError(f"models.{name}.options.{fault}")
        if fault := template.chance_fault():
            raise ConfigError(f"models.{name}: {fault}")
        if wants_system and (fault := template.system_fault()):
            where = wants_system[0].where
            raise ConfigError(f"{where}.system: model {name!r}: {fault}; put the text into `prompt`")
        if wants_tools and (fault := chat.tools_fault()):
            raise ConfigError(f"{wants_tools[0]}: model {name!r}: {fault}")


def _check_ids(ask: Ask, model: ResolvedModel) -> None:
    vocabulary = _vocabulary(model)
    if ask.sampling is None or vocabulary is None:
        return
    for key, ids in (
        ("logit_bias", ask.sampling.logit_bias),
        ("stop_token_ids", ask.sampling.stop_token_ids),
    ):
        if (highest := max(ids, default=0)) >= vocabulary:
            raise ConfigError(
                f"{ask.where}.sampling.{key}: token {highest}; the tokens of model {ask.model!r} are 0 to {vocabulary - 1}"
            )


def _vocabulary(model: ResolvedModel) -> int | None:
    """Return how many tokens a model has, by its config.json; None: that does not say."""
    if model.path is None:
        return None
    try:
        config = json.loads((Path(model.path) / "config.json").read_bytes())
        found = config.get("text_config", config).get("vocab_size", config.get("vocab_size"))
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, int) else None
