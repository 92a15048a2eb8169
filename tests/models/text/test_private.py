"""Private names of transformers are where raygen looks for them."""

from __future__ import annotations

from raygen.models.text.private import compiled_template, takes_attention
from tests.fakes.tiny_llama import tiny_model


def test_a_chat_template_is_compiled_once() -> None:
    text = "{{ messages[0].content }}"
    template = compiled_template(text)
    assert template.render(messages=[{"content": "x"}]) == "x"
    assert compiled_template(text) is template


def test_a_model_says_whether_its_attention_can_be_exchanged() -> None:
    model = tiny_model()
    assert takes_attention(model)
    model._supports_attention_backend = False
    assert not takes_attention(model)
