"""Plain data: what stands in messages stays text, also where it spells one of the model's control tokens, such as <|im_end|>."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raygen.errors import EngineConfigError, RowError


class PlainData:
    """Marks control tokens in data before a chat is written, and makes tokens of the text that comes of it.

    What holds none becomes the same tokens as ever. Control tokens are the special ones, and those that the template writes.

    Raises:
        EngineConfigError: the transformers at hand cannot do it.
    """

    def __init__(self, tokenizer: Any) -> None:
        try:
            from transformers.utils import chat_template_utils as utils

            self._mark, self._encode = utils.mark_control_tokens, utils.encode_marked_chat
            self._begin, self._end = utils._CONTROL_TOKEN_START, utils._CONTROL_TOKEN_END
            template = tokenizer.get_chat_template() if tokenizer.chat_template else ""
            self._control, _ = utils._get_control_token_patterns(tokenizer._get_control_tokens(template))
        except (ImportError, AttributeError):
            raise EngineConfigError("options.data_as_text needs transformers 5.24 or newer") from None
        self._tokenizer = tokenizer

    def check(self, text: str) -> None:
        """Raise RowError `invalid_text`: data holds one of the two private characters that are marks here."""
        if self._begin in text or self._end in text:
            raise RowError(
                "invalid_text",
                "the text holds U+F0000 or U+F0001, private characters by which options.data_as_text marks control tokens",
            )

    def marked(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return messages or tools with control tokens in their texts marked; roles are no data."""
        return [
            {key: value if key == "role" else self._mark(value, self._control) for key, value in each.items()}
            for each in messages
        ]

    def tokens(self, text: str) -> list[int] | None:
        """Return the tokens of what a template wrote of marked messages; None: there is no mark in it."""
        return list(self._encode(self._tokenizer, text)) if self._begin in text else None

    def tokens_of(self, text: str, *, specials: bool) -> list[int] | None:
        """Return the tokens of a text that is data as a whole; None: it spells no control token.

        Args:
            specials: with those that the tokenizer puts around a text.
        """
        if not self._control.search(text):
            return None
        found = self._tokenizer(text, add_special_tokens=specials, split_special_tokens=True)["input_ids"]
        return list(found)
