"""Language: is the sample written in one of the wanted languages? By py3langid, with normalised probabilities."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import Field

from raygen.config.base import Frozen, Probability
from raygen.steps.checks import Check, Verdict
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story

if TYPE_CHECKING:
    from raygen.steps.context import Context

LONGEST = 10_000  # characters that are looked at, from the beginning
SHOWN = 3  # languages whose probability is kept

_LOADING = threading.Lock()


class Language(Frozen):
    """Is the sample written in one of these languages?"""

    allowed: tuple[str, ...] = Field(min_length=1, max_length=200, description="ISO 639 codes: en, de")
    at_least: Probability = Field(
        0.9, description="probability of the allowed languages together; a few words are too few to tell"
    )


class LanguageCheck(Check):
    """Rejects samples in other languages; the score is the probability of the allowed ones together."""

    reason = "language"

    Config = Language

    config: Language

    @classmethod
    def check(cls, config: Language, where: str, context: Context) -> None:
        unknown = [code for code in config.allowed if code not in known_languages()]
        if unknown:
            raise ValueError(
                f"{where}.allowed: no language {', '.join(map(repr, unknown))}; languages: {', '.join(known_languages())}"
            )

    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        texts = [draft.text for draft in drafts]
        # In a thread: the first use loads a model, and a text may be long.
        return await asyncio.to_thread(lambda: [self._verdict(text) for text in texts])

    def _verdict(self, text: str) -> Verdict:
        ranked = ranked_languages(text)
        allowed = min(1.0, sum(chance for language, chance in ranked if language in self.config.allowed))
        scores = dict(ranked[:SHOWN])
        if allowed >= self.config.at_least:
            return Verdict(True, None, allowed, scores)
        language, chance = ranked[0]
        wanted = ", ".join(self.config.allowed)
        finding = f"its language is {language} ({chance:.0%}); wanted: {wanted} ({allowed:.0%})"
        return Verdict(False, finding, allowed, scores)


def known_languages() -> list[str]:
    """Return the codes that can be told apart, in order."""
    return sorted(_identifier().labels)


def ranked_languages(text: str) -> list[tuple[str, float]]:
    """Return every language and its probability, the most probable first. Only the text's beginning is looked at."""
    found: list[tuple[str, float]] = _identifier().rank(text[:LONGEST])
    return found


def _identifier() -> Any:
    """Return the model, loaded once a process; it changes nothing in itself when it is asked."""
    with _LOADING:
        return _load()


@cache
def _load() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
