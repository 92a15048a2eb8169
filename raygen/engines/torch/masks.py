"""Constraints as token masks: which tokens may come next so that a sample's whole text is what was asked for."""

# Shape letters: V = vocabulary.

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from raygen.config.constraint import Constraint
from raygen.config.grammar import grammar_of, matcher_of, one_line
from raygen.engines.requests import GenerateRequest, TokenMask
from raygen.errors import EngineConfigError, RowError, first_line

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

    from raygen.models.text.chat_tokenizer import ChatTokenizer

COMPILED = 64  # grammars kept


class Constraints:
    """What a model needs to keep to constraints. Everything is made when the first one comes. One thread asks for masks.

    Args:
        chat: the model's tokenizer, and the tokens that end its texts.
        vocabulary: V, the number of its logits.
        name: the job's name for the model.
    """

    def __init__(self, chat: ChatTokenizer, vocabulary: int, name: str) -> None:
        self._chat = chat
        self._vocabulary = vocabulary
        self._name = name
        self._made: LLTokenizer | None = None
        self._compiled = lru_cache(COMPILED)(self._compile)

    def masks(self, request: GenerateRequest) -> list[TokenMask | None]:
        """Return a mask for every sample of a request; None allows all.

        Raises:
            RowError: `invalid_constraint`, such as a grammar with special tokens that the model does not have.
            EngineConfigError: the model's tokens have no bytes that llguidance knows of, or none ends a text.
        """
        constraint, own = request.constraint, request.token_mask
        if constraint is None:
            return [own] * len(request.seeds)
        grammar = self._compiled(constraint.model_dump_json(exclude_none=True))
        masks = [ConstraintMask(grammar) for _ in request.seeds]
        return [mask if own is None else BothMasks(mask, own) for mask in masks]

    def decode(self, ids: list[int]) -> str:
        """Return the text that the grammar has read, special tokens left out.

        A tokenizer's own `decode` may drop the space that a text begins with: the text would fit no more.
        """
        special = self._tokens.is_special_token
        data = self._tokens.decode_bytes([token for token in ids if not special(token)])
        return data.decode("utf-8", "replace")

    def _compile(self, text: str) -> Grammar:
        constraint = Constraint.model_validate_json(text)
        return Grammar(self._tokens, grammar_of(constraint.kind, constraint.value), self._vocabulary)

    @property
    def _tokens(self) -> LLTokenizer:
        if self._made is None:
            self._made = self._make_tokens()
        return self._made

    def _make_tokens(self) -> LLTokenizer:
        """Build the table of all tokens' bytes: about half a second for 50,000 tokens."""
        from llguidance.hf import from_tokenizer

        tokenizer = self._chat.tokenizer
        known = min(len(tokenizer), self._vocabulary)
        ends = sorted(token for token in self._chat.eos_ids if token < known)
        if not ends:
            raise EngineConfigError(
                f"model {self._name!r}: no token ends its texts (`eos_token_id` of its configs), so that none "
                "could end that keeps to a constraint"
            )
        try:
            return from_tokenizer(tokenizer, max(len(tokenizer), self._vocabulary), ends)
        except BaseException as error:  # a panic of its Rust code is no Exception
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise EngineConfigError(
                f"model {self._name!r}: its tokenizer cannot keep to constraints: {first_line(error)}"
            ) from error


class Grammar:
    """A compiled constraint. What masks find out about it serves all samples."""

    def __init__(self, tokens: LLTokenizer, grammar: str, vocabulary: int) -> None:
        self._tokens = tokens
        self._grammar = grammar
        self.vocabulary = vocabulary
        if (first := self.anew()).is_error():
            raise RowError(
                "invalid_constraint",
                one_line(first.get_error()),
                public="no text could keep to the constraint, or it is too complex",
            )

    def begin(self) -> LLMatcher:
        """Return a matcher before the first token, in microseconds."""
        return self._first.deep_copy()

    def anew(self) -> LLMatcher:
        """Return one that shares nothing with those before; later ones share with it."""
        self._first = matcher_of(self._tokens, self._grammar)
        return self.begin()


class ConstraintMask:
    """One sample's place in a grammar; it moves on with the sample's tokens. What it allows depends on them alone."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar
        self._matcher = grammar.begin()
        self._seen: Sequence[int] = ()
        self._count = 0  # of them, consumed

    def __call__(self, prompt: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
        """Return a bool array (V,). Once no text can follow, only the tokens that end one are allowed.

        Raises:
            RowError: `constraint_failed`, nothing fits after these tokens, or the grammar is too complex.
        """
        allowed_V = self._allowed(tokens)
        if allowed_V is None:
            # The samples of a grammar share its states, of which there is a most: what others did must not fail this one.
            self._restart(self._grammar.anew())
            allowed_V = self._allowed(tokens)
        if allowed_V is None:
            error = one_line(self._matcher.get_error())
            raise RowError(
                "constraint_failed",
                f"no token can follow {len(tokens)} that keeps to the constraint: {error}",
                public=f"no token can follow {len(tokens)} that keeps to the constraint",
            )
        return allowed_V

    def _allowed(self, tokens: Sequence[int]) -> np.ndarray | None:
        self._go_to(tokens)
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            return None
        return np.unpackbits(bits, count=self._grammar.vocabulary, bitorder="little").view(bool)

    def _go_to(self, tokens: Sequence[int]) -> None:
        """Take the matcher behind these tokens. An engine's list grows: then only what is new is looked at."""
        count = self._count
        same = tokens is self._seen or list(tokens[:count]) == list(self._seen[:count])
        if not same or len(tokens) < count or self._matcher.is_error():
            self._restart(self._grammar.begin())
        self._matcher.consume_tokens(list(tokens[self._count :]))
        self._seen, self._count = tokens, len(tokens)

    def _restart(self, matcher: LLMatcher) -> None:
        self._matcher, self._seen, self._count = matcher, (), 0


class BothMasks:
    """What two masks allow."""

    def __init__(self, one: TokenMask, other: TokenMask) -> None:
        self._one, self._other = one, other

    def __call__(self, prompt: Sequence[int], tokens: Sequence[int]) -> np.ndarray | None:
        one_V, other_V = self._one(prompt, tokens), self._other(prompt, tokens)
        if one_V is None or other_V is None:
            return other_V if one_V is None else one_V
        both_V: np.ndarray = one_V & other_V
        return both_V
