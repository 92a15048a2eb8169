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
        min_tokens: before so many, nothing but the limit ends the text; a stop string must then end after them.
    """

    def __init__(
        self,
        stop: Sequence[str],
        eos_ids: Collection[int],
        limit: int,
        decode: Callable[[list[int]], str],
        *,
        min_tokens: int = 0,
    ) -> None:
        self.stop = tuple(stop)
        self.eos_ids = frozenset(eos_ids)
        self.min_tokens = min_tokens
        self.limit = limit
        self.decode = decode
        self._window = TOKENS_PER_CHARACTER * max(map(len, self.stop), default=0) + SPARE_TOKENS

    def check(self, tokens: list[int]) -> str | None:
        """Return the finish reason of a sample with these tokens (`stop` or `length`), or None to go on.

        To be called after every token: only the last one can bring the end.
        """
        if len(tokens) >= self.min_tokens and (tokens[-1] in self.eos_ids or self._completes_stop(tokens)):
            return "stop"
        return "length" if len(tokens) >= self.limit else None

    def text(self, tokens: list[int]) -> str:
        """Return the text of a finished sample."""
        if tokens and tokens[-1] in self.eos_ids:
            tokens = tokens[:-1]
        text = self.decode(tokens)
        return text[: self._find(tokens, text)]

    def _completes_stop(self, tokens: list[int]) -> bool:
        """Look at the last tokens (cheap); only when they hold a stop string, at the whole text (exact)."""
        if not self.stop:
            return False
        last = self.decode(tokens[-self._window :])
        if not any(stop in last for stop in self.stop):
            return False
        return self._find(tokens, self.decode(tokens)) is not None

    def _find(self, tokens: list[int], text: str) -> int | None:
        """Where the earliest stop string begins, of those that end after `min_tokens` - 1 tokens."""
        if not self.stop:
            return None
        before = len(self.decode(tokens[: self.min_tokens - 1])) if self.min_tokens > 1 else 0
        found = (text.find(stop, max(0, before - len(stop) + 1)) for stop in self.stop)
        return min((place for place in found if place >= 0), default=None)
