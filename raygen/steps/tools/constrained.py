"""Constrained: does a text keep to its constraint? Looked at after generation, whatever engine promised to keep to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from raygen.config.constraint import Constraint
from raygen.config.grammar import grammar_of, matcher_of, one_line
from raygen.engines.finish import LENGTH
from raygen.errors import RowError
from raygen.steps.tools.excerpt import excerpt

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from raygen.engines.requests import GeneratedSample

NAMED = 200  # characters of a text, or of the choices, in a finding


class KeepsTo:
    """A constraint to compare texts with. One event loop uses it; what it needs is made when the first text comes."""

    def __init__(self, constraint: Constraint) -> None:
        self._constraint = constraint
        self._look: Callable[[GeneratedSample], str | None] | None = None

    def fault_in(self, sample: GeneratedSample) -> str | None:
        """Say what is wrong with a sample's text, for a model that mends it and for people; None: it keeps to it.

        Raises RowError: `pattern_timeout`, `constraint_failed`: it cannot be told in bounded time.
        """
        if self._look is None:
            self._look = self._made()
        fault = self._look(sample)
        if fault is not None and sample.finish_reason == LENGTH:
            spent = f" ({sample.output_tokens:,} tokens)" if sample.output_tokens is not None else ""
            return f"it was cut off at max_tokens{spent}: {fault}"
        return fault

    def _made(self) -> Callable[[GeneratedSample], str | None]:
        kind, value = self._constraint.kind, self._constraint.value
        if kind == "choice":
            known = frozenset(value)
            named = excerpt(", ".join(map(repr, value)), NAMED)
            return lambda sample: (
                None if sample.text in known else f"{_quoted(sample.text)} is none of the choices {named}"
            )
        if kind == "json_schema":
            from raygen.steps.tools.schemas import Schema, dialect_of

            schema = Schema(value, dialect_of(value))
            return lambda sample: schema.fault_in(sample.text)
        return Letters(kind, value).fault_in


class Letters:
    """A regular expression or a grammar, followed byte by byte: no model's tokens are needed."""

    def __init__(self, kind: str, value: str) -> None:
        from llguidance import LLTokenizer

        self._tokens = LLTokenizer("byte")  # token n is byte n
        self._grammar = grammar_of(kind, value)
        self._what = "regular expression" if kind == "regex" else "grammar"
        self._first = self._anew()
        # One that names special tokens is no matter of letters: they are in no text. The engine has kept to it, unless it
        # had to stop before the end.
        self._unreadable = self._first.is_error()

    def fault_in(self, sample: GeneratedSample) -> str | None:
        if self._unreadable:
            return f"it is not all of the {self._what}" if sample.finish_reason == LENGTH else None
        letters = sample.text.encode()
        matcher = self._first.deep_copy()
        read = matcher.try_consume_tokens(list(letters))
        if matcher.is_error():
            # Texts share a grammar's states, of which there is a most: what others did must not fail this one.
            self._first = self._anew()
            matcher = self._first.deep_copy()
            read = matcher.try_consume_tokens(list(letters))
        if matcher.is_error():
            raise RowError(
                "constraint_failed",
                f"whether the text keeps to the {self._what} cannot be told: {one_line(matcher.get_error())}",
            )
        if read < len(letters):
            good = letters[:read].decode("utf-8", "ignore")
            rest = _quoted(sample.text[len(good) :])
            return f"the {self._what} does not allow {rest} after {len(good):,} characters"
        return None if matcher.is_accepting() else f"the {self._what} does not allow it to end there"

    def _anew(self) -> LLMatcher:
        return matcher_of(self._tokens, self._grammar)


def _quoted(text: str) -> str:
    """With its white space, which may be what is wrong."""
    return repr(text) if len(text) <= NAMED else f"{text[:NAMED]!r} ..."
