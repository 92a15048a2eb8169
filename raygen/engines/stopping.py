"""Stopping: when a sample ends, and the text that it then has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

# A character has at most four bytes, a token at least one: so many tokens hold a stop string that ends now.
TOKENS_PER_CHARACTER = 4
SPARE_TOKENS = 8  # the window may begin within a character, and special tokens decode to nothing


class StopRule:
    """The end of one sample: an end-of-text token, a stop string in the text, or a limit of tokens.

    Args:
        stop: strings that end the text; the text is cut before the earliest of them.
        eos_ids: tokens that end the text and are no part of it.
        limit: tokens generated at most, an end-of-text token included; at least 1.
        decode: turns token ids into text, special tokens left out.
    """

    def __init__(
        self, stop: Sequence[str], eos_ids: Collection[int], limit: int, decode: Callable[[list[int]], str]
    ) -> None:
        self._stop = tuple(stop)
        self._eos_ids = eos_ids
        self._limit = limit
        self._decode = decode
        self._window = TOKENS_PER_CHARACTER * max(map(len, self._stop), default=0) + SPARE_TOKENS

    def check(self, tokens: list[int]) -> str | None:
        """Return the finish reason of a sample with these tokens (`stop` or `length`), or None to go on.

        To be called after every token: only the last one can bring the end.
        """
        if tokens[-1] in self._eos_ids or self._completes_stop(tokens):
            return "stop"
        return "length" if len(tokens) >= self._limit else None

    def text(self, tokens: list[int]) -> str:
        """Return the text of a finished sample."""
        if tokens and tokens[-1] in self._eos_ids:
            tokens = tokens[:-1]
        text = self._decode(tokens)
        return text[: min((text.index(stop) for stop in self._stop if stop in text), default=len(text))]

    def _completes_stop(self, tokens: list[int]) -> bool:
        """Look at the last tokens (cheap); only when they hold a stop string, at the whole text (exact)."""
        if not self._stop or not self._contains_stop(tokens[-self._window :]):
            return False
        return len(tokens) <= self._window or self._contains_stop(tokens)

    def _contains_stop(self, tokens: list[int]) -> bool:
        text = self._decode(tokens)
        return any(stop in text for stop in self._stop)
