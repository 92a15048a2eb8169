"""Private names of transformers, which a release may take away: all that raygen uses of them, with a test each."""

from __future__ import annotations

from typing import Any


def compiled_template(text: str) -> Any:
    """Return the Jinja template that transformers renders for a chat template's text: the very object, from its cache."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    return _compile_jinja_template(text)


def takes_attention(model: Any) -> bool:
    """Return whether a model computes attention by a function that can be exchanged."""
    return bool(model._supports_attention_backend)
