"""Chat templates: the clock that they see, arguments, and what they would leave out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raygen.errors import RowError
from raygen.models.text.chat_template import ChatTemplate, TemplateRules, may_draw, reads_clock, refuse_given
from raygen.models.text.chat_tokenizer import ChatTokenizer
from tests.fakes.tiny_llama import CHAT_TEMPLATE, tiny_tokenizer

PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
DATED = "{{ strftime_now('%d %b %Y, %H:%M') }} " + PLAIN
USER_ONLY = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
REFUSING = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + PLAIN
)
THINKING = PLAIN + "{% if not (enable_thinking | default(true)) %}no thoughts{% endif %}"
HELLO = [{"role": "user", "content": "hello"}]
TOLD = [{"role": "system", "content": "be kind"}, *HELLO]


def template_of(text: str | None, **rules: Any) -> ChatTemplate:
    return ChatTemplate(tiny_tokenizer(text), TemplateRules(**rules))


def test_the_clock_shows_the_date_of_the_run() -> None:
    template = template_of(DATED, date="2026-01-31")
    assert template.render(HELLO).startswith("31 Jan 2026, 00:00 user")


def test_models_of_one_process_have_clocks_of_their_own() -> None:
    one, other = template_of(DATED, date="2026-01-31"), template_of(DATED, date="2025-12-24")
    assert [each.render(HELLO)[:6] for each in (one, other, one)] == ["31 Jan", "24 Dec", "31 Jan"]
    now = template_of(DATED).render(HELLO)
    assert not now.startswith(("31 Jan 2026, 00:00", "24 Dec 2025"))


def test_a_macro_sees_the_same_clock() -> None:
    macro = "{% macro day() %}{{ strftime_now('%Y') }}{% endmacro %}{{ day() }}" + PLAIN
    assert template_of(macro, date="1999-01-01").render(HELLO).startswith("1999")


def test_arguments_reach_the_template() -> None:
    template = template_of(THINKING, arguments={"enable_thinking": False})
    assert template.argument_fault() is None
    assert template.render(HELLO).endswith("no thoughts")
    assert not template_of(THINKING).render(HELLO).endswith("no thoughts")


def test_an_argument_that_is_never_read_is_named() -> None:
    fault = template_of(THINKING, arguments={"enable_thinkin": False}).argument_fault()
    assert fault == (
        "template.enable_thinkin: the model's chat template never reads it; arguments that it reads: enable_thinking"
    )
    assert (
        template_of(None, arguments={"x": 1}).argument_fault() == "template.x: the model has no chat template"
    )


def test_what_a_template_is_given_in_any_case_is_no_argument() -> None:
    assert refuse_given({"enable_thinking": False}) == {"enable_thinking": False}
    for name in ("messages", "tools", "add_generation_prompt", "bos_token", "strftime_now", "no name"):
        with pytest.raises(ValueError, match=name):
            refuse_given({name: 1})


def test_a_system_text_that_would_not_reach_the_model() -> None:
    assert template_of(PLAIN).system_fault() is None
    assert template_of(None).system_fault() is None  # contents are joined
    assert template_of(USER_ONLY).system_fault() == "the model's chat template leaves the system text out"
    refused = template_of(REFUSING).system_fault()
    assert refused is not None
    assert "refuses a system message" in refused
    assert "System role not supported" in refused


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_row_whose_system_message_would_be_left_out_fails(role: str) -> None:
    chat = ChatTokenizer(tiny_tokenizer(USER_ONLY), frozenset(), 100)
    with pytest.raises(RowError, match=f"leaves the text of {role} messages out") as failed:
        chat.encode([{"role": role, "content": "be kind"}, *HELLO])
    assert failed.value.code == "invalid_messages"
    assert chat.encode(HELLO) == chat.tokenizer("hello")["input_ids"]


def test_a_run_of_a_former_version_goes_on_as_it_began() -> None:
    rules = TemplateRules(lenient=True)
    chat = ChatTokenizer(tiny_tokenizer(USER_ONLY), frozenset(), 100, rules=rules)
    assert chat.encode(TOLD) == chat.encode(HELLO)


@pytest.mark.parametrize("chance", ["{{ range(99) | random }}", "{{ lipsum(1) }}"])
def test_a_template_that_draws_at_random_is_found(tmp_path: Path, chance: str) -> None:
    fault = template_of(PLAIN + chance).chance_fault()
    assert fault is not None
    assert "draws at random" in fault
    assert template_of(DATED).chance_fault() is None
    (tmp_path / "chat_template.jinja").write_text(PLAIN + chance)
    assert may_draw(tmp_path)


def test_a_directory_is_looked_at_without_its_tokenizer(tmp_path: Path) -> None:
    assert not reads_clock(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": CHAT_TEMPLATE}))
    assert not reads_clock(tmp_path)
    config.write_text(json.dumps({"chat_template": [{"name": "default", "template": DATED}]}))
    assert reads_clock(tmp_path)
    config.write_text("{}")
    (tmp_path / "chat_template.jinja").write_text(DATED)
    assert reads_clock(tmp_path)
