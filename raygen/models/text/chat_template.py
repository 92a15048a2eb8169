"""The chat template: a model's own program that writes a chat as one text, with the clock and arguments that a run pinned.

transformers is imported only where a template is rendered: what is asked of a directory alone costs no import.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date as Date
from datetime import datetime, time
from functools import cached_property
from pathlib import Path
from typing import Any

from raygen.errors import RowError, first_line
from raygen.models.text.private import compiled_template

CLOCK = "strftime_now"  # how transformers calls the function by which a template asks for the time
RANDOM = ("random", "lipsum")  # a filter and a function of Jinja that give something else each time
MARK = "raygenmark"  # plain enough to come out of any template as it went in
SYSTEM_ROLES = ("system", "developer")
_SYSTEM, _USER = {"role": "system", "content": MARK}, {"role": "user", "content": "a"}
# What every template is given by transformers or by the chat itself.
GIVEN = frozenset(
    {
        "messages", "conversation", "tools", "documents", "chat_template", "add_generation_prompt",
        "continue_final_message", "tokenize", "padding", "truncation", "max_length", "return_tensors", "return_dict",
        "return_assistant_tokens_mask", "tokenizer_kwargs", "sanitize_control_tokens", "bos_token", "eos_token",
        "unk_token", "pad_token", "sep_token", "cls_token", "mask_token", CLOCK, "raise_exception", "namespace", "dict",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TemplateRules:
    """How a run uses a model's chat template."""

    date: str | None = None  # what its clock shows, `2026-11-30` at midnight; None: this machine's time
    arguments: Mapping[str, Any] = field(default_factory=dict)  # such as enable_thinking
    data_as_text: bool = False  # is what stands in messages never a control token?
    lenient: bool = False  # let it leave messages out without a word, as runs of former versions did


AS_IT_IS = TemplateRules()


class ChatTemplate:
    """Renders chats as the tokenizer's own template does, under a run's rules."""

    def __init__(self, tokenizer: Any, rules: TemplateRules = AS_IT_IS) -> None:
        self._tokenizer = tokenizer
        self._rules = rules
        self._dropped: dict[str, bool] = {}

    def render(
        self, messages: Sequence[Mapping[str, Any]], *, ask: bool = True, tools: list[Any] | None = None
    ) -> str:
        """Return a chat as one text. Raises whatever the template does: it is a program of the model's maker.

        Args:
            ask: end it where the assistant is to speak.
        """
        self._set_clock(tools)
        text: str = self._tokenizer.apply_chat_template(
            messages, tools=tools, tokenize=False, add_generation_prompt=ask, **self._rules.arguments
        )
        return text

    def check_roles(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Raise RowError `invalid_messages` when the template would leave the text of a system message out."""
        if self._rules.lenient or not self._tokenizer.chat_template:
            return
        for role in SYSTEM_ROLES:
            if any(message.get("role") == role for message in messages) and self._drops(role):
                raise RowError(
                    "invalid_messages",
                    f"the model's chat template leaves the text of {role} messages out; put it into a user's message",
                )

    def argument_fault(self) -> str | None:
        """Say which argument would change nothing, as `template.NAME: why`; None: each does something."""
        read = self._reads if self._tokenizer.chat_template else set()
        name = next((name for name in self._rules.arguments if name not in read), None)
        if name is None:
            return None
        if not self._tokenizer.chat_template:
            return f"template.{name}: the model has no chat template"
        known = ", ".join(sorted(read - GIVEN)) or "none"
        return f"template.{name}: the model's chat template never reads it; arguments that it reads: {known}"

    def chance_fault(self) -> str | None:
        """Say why a prompt could not be told again; None: the template writes the same text each time."""
        if not self._tokenizer.chat_template:
            return None
        from jinja2 import nodes

        found = {each.name for kind in (nodes.Filter, nodes.Name) for each in self._program.find_all(kind)}
        drawn = next((name for name in RANDOM if name in found), None)
        if drawn is None:
            return None
        return f"the model's chat template draws at random (`{drawn}`), so that no prompt could be told again"

    def system_fault(self) -> str | None:
        """Say why a system text would not reach the model; None: it would."""
        if not self._tokenizer.chat_template:
            return None
        try:
            text = self.render([_SYSTEM, _USER])
        except Exception as error:  # noqa: BLE001 - templates are programs of the model's maker
            return f"the model's chat template refuses a system message ({first_line(error)})"
        return None if MARK in text else "the model's chat template leaves the system text out"

    def _drops(self, role: str) -> bool:
        if role not in self._dropped:
            try:
                text = self.render([{**_SYSTEM, "role": role}, _USER])
            except Exception:  # noqa: BLE001 - it refuses the role: that is told with the row
                text = MARK
            self._dropped[role] = MARK not in text
        return self._dropped[role]

    @cached_property
    def _program(self) -> Any:
        """The template's syntax tree."""
        text = self._tokenizer.get_chat_template()
        return self._compiled(None).environment.parse(text)

    @property
    def _reads(self) -> set[str]:
        from jinja2 import meta

        found: set[str] = meta.find_undeclared_variables(self._program)
        return found

    def _compiled(self, tools: list[Any] | None) -> Any:
        """Return the very object that transformers renders."""
        return compiled_template(self._tokenizer.get_chat_template(None, tools))

    def _set_clock(self, tools: list[Any] | None) -> None:
        """Set the template's clock anew each time: models of one process may share what is compiled of it."""
        if CLOCK in self._tokenizer.get_chat_template(None, tools):
            self._compiled(tools).globals[CLOCK] = self._now

    def _now(self, form: str) -> str:
        day = self._rules.date
        moment = datetime.combine(Date.fromisoformat(day), time()) if day else datetime.now()
        return moment.strftime(form)


def refuse_given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Check arguments of a chat template before there is one. Raises ValueError: it is given them in any case."""
    for name in arguments:
        if name in GIVEN:
            raise ValueError(f"{name!r} is what every chat template is given; it cannot be set")
        if not name.isidentifier():
            raise ValueError(f"{name!r} is no name that a template could read")
    return arguments


def template_text(directory: Path) -> str:
    """Return the chat templates in a model directory, one behind the other; nothing is loaded or run."""
    files = [directory / "chat_template.jinja", directory / "chat_template.json"]
    files += sorted(directory.glob("additional_chat_templates/*.jinja"))
    found = [path.read_text("utf-8", "replace") for path in files if path.is_file()]
    try:
        config = json.loads((directory / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError):
        config = None
    if isinstance(config, dict) and config.get("chat_template"):
        found.append(json.dumps(config["chat_template"]))
    return "\n".join(found)


def reads_clock(directory: Path) -> bool:
    """May prompts by the chat template of a model directory depend on the date?"""
    return CLOCK in template_text(directory)


def may_draw(directory: Path) -> bool:
    """May its chat template draw at random? A look at its text; `chance_fault` tells."""
    text = template_text(directory)
    return any(name in text for name in RANDOM)
