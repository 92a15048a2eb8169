"""Echo words: what the echo engine takes for tokens, how probable it says they are, and vectors: all of it made from hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from raygen.engines.requests import TokenLogprob
from raygen.errors import RowError

VOCABULARY = 50_000  # token ids are below it
LEAST_LOGPROB = -4.0


def words_of(text: str) -> list[str]:
    """Return a text cut before each space: words that make up the text again."""
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)]


def written(seed_text: str, count: int) -> str:
    """Return a text of so many words, which follow from another text."""
    return " ".join(_digest(f"{seed_text}\x00{place}").hex()[:8] for place in range(count))


def prompt_text(prompt: str | Sequence[int]) -> str:
    """Return a raw prompt as text: token ids become words, their numbers. Raises RowError `invalid_prompt`."""
    if isinstance(prompt, str):
        return prompt
    wrong = next((token for token in prompt if not 0 <= token < VOCABULARY), None)
    if wrong is not None:
        raise RowError("invalid_prompt", f"there is no token {wrong}: the model's are 0 to {VOCABULARY - 1}")
    return " ".join(map(str, prompt))


def logprob_of(word: str, place: int) -> float:
    """Return the log-probability of a word at a place of its text, in [LEAST_LOGPROB, 0]."""
    return LEAST_LOGPROB * int.from_bytes(_digest(f"{place}\x00{word}")[:6]) / 2**48


def told_words(words: Sequence[str], top: int, start: int = 0) -> list[TokenLogprob]:
    """Return each word's log-probability, and `top` words, itself first, that are the more probable the earlier.

    Args:
        start: place of the first of these words in their text.
    """
    found = []
    for place, word in enumerate(words, start):
        logprob = logprob_of(word, place)
        others = [f" {_digest(f'{word}{rank}').hex()[:4]}" for rank in range(1, top)]
        ranked = [(word, logprob), *((other, logprob - rank) for rank, other in enumerate(others, 1))]
        best: list[tuple[int | None, str, float | None]] = [
            (_token_id(each), each, value) for each, value in ranked[:top]
        ]
        found.append(TokenLogprob(_token_id(word), word, logprob, best))
    return found


def told_prompt(prompt: str | Sequence[int], top: int) -> list[TokenLogprob]:
    """Return what `told_words` does of a prompt's words; of the first one nothing is told."""
    found = told_words(words_of(prompt_text(prompt)), top)
    if not isinstance(prompt, str):
        for each, token in zip(found, prompt, strict=False):
            each.token_id = token
    found[0].logprob, found[0].top = None, []
    return found


def vector_of(content: str | bytes, width: int) -> np.ndarray:
    """Return a vector of length 1, float32 (width,), which depends on the content alone."""
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    numbers = np.frombuffer(hashlib.shake_256(data).digest(2 * width), "<u2") / 32768 - 1
    return np.asarray(numbers / max(float(np.linalg.norm(numbers)), 1e-6), np.float32)


def _token_id(word: str) -> int:
    return int.from_bytes(_digest(word)[:4]) % VOCABULARY


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
