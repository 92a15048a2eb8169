"""Usage: what work took and made, as amounts by unit: tokens, pictures, seconds of sound.

This is the one place that knows the units: how an amount is written for people, which unit a progress line leads with, and
which ones a budget of `tokens` counts. A unit that is not listed here, such as one of an engine from another package, is
added up like the others and shown under its own name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from raygen.formatting import count, duration, number

PROMPT_TOKENS, OUTPUT_TOKENS, ENCODED_TOKENS = "prompt_tokens", "output_tokens", "encoded_tokens"
IMAGES, AUDIO_SECONDS, FRAMES = "images", "audio_seconds", "frames"
TOKENS = "tokens"  # in a budget: the tokens of all three kinds together


@dataclass(frozen=True, slots=True)
class Unit:
    """How amounts of one unit are called.

    Args:
        word: stands before "tokens" in a sentence (prompt, output); for other units it names one of them.
        label: the name of a figure or a line.
        made: whether it counts what was made, so that progress can be told by it; else it counts what was read.
        seconds: whether amounts are lengths of time; else they are counts.
    """

    name: str
    word: str
    label: str
    made: bool = True
    seconds: bool = False

    def rate(self, short: bool = False) -> str:
        """Return the unit of its speed: `images/s`, `output tokens/s`, which is `tokens/s` where words are few."""
        if self.seconds:
            return f"s of {self.word}/s"
        return "tokens/s" if short and self.name == OUTPUT_TOKENS else f"{self.label.lower()}/s"

    def amount(self, value: float) -> str:
        """Return an amount without its unit where that is a count: `1,204`, `3 min 20 s`."""
        return duration(value) if self.seconds else number(value)

    def words(self, value: float) -> str:
        """Return an amount with its unit: `541 output tokens`, `12 images`, `3 min 20 s of sound`, `2.5 credits`."""
        if self.name in _TOKEN_UNITS:
            return count(value, f"{self.word} token")
        if self.name not in UNITS:
            return f"{number(value)} {self.name}"
        return f"{duration(value)} of {self.word}" if self.seconds else count(value, self.word)


_TOKEN_UNITS = (PROMPT_TOKENS, OUTPUT_TOKENS, ENCODED_TOKENS)
# The first of them that a run makes leads its progress: rows whose prompts a language model writes are counted in pictures.
UNITS = {
    unit.name: unit
    for unit in (
        Unit(FRAMES, "frame", "Frames"),
        Unit(IMAGES, "image", "Images"),
        Unit(AUDIO_SECONDS, "sound", "Sound", seconds=True),
        Unit(OUTPUT_TOKENS, "output", "Output tokens"),
        Unit(PROMPT_TOKENS, "prompt", "Prompt tokens", made=False),
        Unit(ENCODED_TOKENS, "encoded", "Encoded tokens", made=False),
    )
}


def unit_of(name: str) -> Unit:
    """Return a unit by its name; one that is not known is a count under its own name."""
    return UNITS.get(name) or Unit(name, name, name)


class Usage(dict[str, float]):
    """Amounts by unit; a unit that was not counted has 0.

    Example:
        >>> spent = Usage(prompt_tokens=20, output_tokens=541) + Usage(images=12)
        >>> spent["images"], spent["frames"], spent.budgeted("tokens")
        (12, 0, 561)
        >>> spent.words()
        '20 prompt and 541 output tokens, 12 images'
    """

    def __missing__(self, unit: str) -> float:
        return 0

    def __add__(self, other: Mapping[str, float]) -> Usage:
        """Return the sums of both, unit by unit."""
        both = Usage(self)
        both += other
        return both

    def __iadd__(self, other: Mapping[str, float]) -> Usage:
        """Add in place: this is done for every row."""
        for unit, amount in other.items():
            self[unit] = self.get(unit, 0) + amount
        return self

    def at_least(self, other: Mapping[str, float]) -> Usage:
        """Return the larger of both amounts, unit by unit."""
        return Usage({unit: max(self[unit], other.get(unit, 0)) for unit in {**self, **other}})

    def times(self, factor: float) -> Usage:
        """Return all amounts multiplied: whole numbers as such, others to a tenth."""
        digits = {unit: None if isinstance(amount, int) else 1 for unit, amount in self.items()}
        return Usage({unit: round(amount * factor, digits[unit]) for unit, amount in self.items()})

    def budgeted(self, name: str) -> float:
        """Return the amount that a budget of this name counts: of a unit, or of `tokens` of every kind."""
        return sum(self[unit] for unit in _TOKEN_UNITS) if name == TOKENS else self[name]

    @property
    def lead(self) -> str:
        """The unit that progress is told by: the first in which something was made."""
        made = (unit for unit in self._ordered() if self[unit] and unit_of(unit).made)
        return next(made, OUTPUT_TOKENS)

    def _ordered(self) -> list[str]:
        """Return the units in the order of UNITS, then unknown ones by name."""
        return [*(unit for unit in UNITS if unit in self), *sorted(self.keys() - UNITS.keys())]

    @property
    def others(self) -> Usage:
        """The amounts of units other than tokens."""
        return Usage({unit: self[unit] for unit in self._ordered() if unit not in _TOKEN_UNITS})

    @property
    def shown(self) -> list[Unit]:
        """The units that are worth a figure; those of text where nothing was counted."""
        return [unit_of(unit) for unit in self.others if self[unit]] + [
            UNITS[unit] for unit in self._token_kinds()
        ]

    def _token_kinds(self) -> list[str]:
        """Return the kinds of tokens that are shown: prompt and output always where nothing but text was counted."""
        always = () if any(self.others.values()) else (OUTPUT_TOKENS, PROMPT_TOKENS)
        return [
            kind for kind in (OUTPUT_TOKENS, PROMPT_TOKENS, ENCODED_TOKENS) if self[kind] or kind in always
        ]

    def tokens(self) -> list[str]:
        """Return the tokens by kind: `20 prompt`, `541 output`; nothing where only other units were counted."""
        kinds = [kind for kind in _TOKEN_UNITS if kind in self._token_kinds()]
        return [f"{number(self[kind])} {UNITS[kind].word}" for kind in kinds]

    def words(self) -> str:
        """Return all amounts in words: `20 prompt and 541 output tokens, 12 images`."""
        *first, last = self.tokens() or [""]
        tokens = f"{', '.join(first)} and {last} tokens" if first else last and f"{last} tokens"
        others = [unit_of(unit).words(amount) for unit, amount in self.others.items()]
        return ", ".join([tokens, *others] if tokens else others)

    def made_words(self) -> str:
        """Return what was made, in words: `541 tokens`, `12 images, 3 min 20 s of sound`."""
        others = [unit_of(unit).words(amount) for unit, amount in self.others.items() if amount]
        tokens = self[OUTPUT_TOKENS]
        return ", ".join([*([count(tokens, "token")] if tokens or not others else []), *others])


def known(**amounts: float | None) -> Usage:
    """Return the amounts that are known."""
    return Usage({unit: amount for unit, amount in amounts.items() if amount is not None})


def total(usages: Iterable[Mapping[str, float]]) -> Usage:
    """Return the sum of many."""
    found = Usage()
    for each in usages:
        found += each
    return found


_FORMER = {"prompt": PROMPT_TOKENS, "output": OUTPUT_TOKENS}


def with_usage(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's record (a commit, a manifest, a session) with its usage, whichever version wrote it.

    Records of runs whose outcomes have schema 3 or 4 hold `tokens`, as `prompt` and `output`, instead of `usage`.
    """
    found = dict(record)
    former = found.pop("tokens", None)
    found["usage"] = Usage(found.get("usage") or {_FORMER[kind]: n for kind, n in (former or {}).items()})
    return found
