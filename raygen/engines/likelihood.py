"""Likelihoods: how probable a model finds given texts, token by token; beside the running samples, in a slot like theirs.

A pass computes tokens of one text alone, cut where its own positions say, so that its bits depend on the text and what
stands before it, never on what else there is to do.
"""

# Shape letters: V = vocabulary, N = tokens of a pass.

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raygen.config import Sampling
from raygen.engines.base import LikelihoodRequest
from raygen.engines.memory import Memory
from raygen.engines.sample import Sample
from raygen.engines.scheduler import PIECE
from raygen.engines.stopping import StopRule
from raygen.engines.text_messages import text_only
from raygen.errors import EngineError, RowError

if TYPE_CHECKING:  # both need torch, which a job's validation does not load
    import torch

    from raygen.engines.decoder import Decoder
    from raygen.models.chat_tokenizer import ChatTokenizer


@dataclass(slots=True, eq=False)
class Scoring:
    """A request inside the engine: token ids of texts that each follow the same tokens, one or more."""

    before: list[int]
    texts: list[list[int]]
    adapter: str | None
    finished: asyncio.Future[None]
    logprobs: list[float] = field(default_factory=list)  # of the texts that are done
    error: RowError | None = None
    cancelled: bool = False  # nobody waits for it any more

    # How far it is: the first text's pass over `before` serves all.
    after_V: torch.Tensor | None = None  # the logits after `before`
    computed: int = 0  # positions in the slot, of `before` and the text whose turn it is
    so_far: float = 0.0  # of that text

    @property
    def positions(self) -> int:
        """Positions that it needs: the keys of a text's last token are never looked at."""
        return len(self.before) + max(0, max(map(len, self.texts)) - 1)

    @property
    def done(self) -> bool:
        return self.error is not None or self.cancelled or len(self.logprobs) == len(self.texts)


class Likelihoods:
    """Requests one after the other. A request waits until running samples leave room for it.

    `ask`, `settle` and `end` are the event loop's to call, `step` is the worker thread's.

    Args:
        tokens: computed in a step, about.
    """

    def __init__(self, decoder: Decoder, memory: Memory, tokens: int) -> None:
        self._decoder = decoder
        self._memory = memory
        self._tokens = tokens
        self._waiting: deque[Scoring] = deque()  # both threads' own ends of it
        self._asked: set[Scoring] = set()
        self._now: Scoring | None = None
        self._holder: Sample | None = None  # holds the slot: to the memory, a prompt that is never done

    @property
    def busy(self) -> bool:
        return self._now is not None or bool(self._waiting)

    async def ask(
        self, before: list[int], texts: list[list[int]], adapter: str | None, wake: asyncio.Event
    ) -> list[float]:
        """Return the log-probability of each text after `before`. Raises RowError `nan_logits`, or what `end` was given."""
        scoring = Scoring(before, texts, adapter, asyncio.get_running_loop().create_future())
        self._asked.add(scoring)
        self._waiting.append(scoring)
        wake.set()
        try:
            await scoring.finished
        finally:
            scoring.cancelled = not scoring.done
            self._asked.discard(scoring)
        return scoring.logprobs

    def settle(self, ended: Sequence[Scoring]) -> None:
        """Tell those who wait."""
        for scoring in ended:
            if scoring.finished.done():
                continue
            if scoring.error is not None:
                scoring.finished.set_exception(scoring.error)
            else:
                scoring.finished.set_result(None)

    def end(self, reason: EngineError) -> None:
        """The engine ends: nobody may wait for ever."""
        for scoring in self._asked:
            if not scoring.finished.done():
                scoring.finished.set_exception(reason)

    def step(self) -> list[Scoring]:
        """Compute a step's worth; return the requests that are done."""
        ended = []
        left = self._tokens
        while left > 0 and (self._now is not None or self._take()):
            scoring = self._now
            assert scoring is not None
            if not scoring.done:
                left -= self._advance(scoring)
            if scoring.done:
                self._leave()
                ended.append(scoring)
        return ended

    def _take(self) -> bool:
        """Give the next request a slot. False: there is none, or no room."""
        while self._waiting and self._waiting[0].done:
            self._waiting.popleft()
        if not self._waiting:
            return False
        positions = self._waiting[0].positions
        holder = Sample([0] * (positions + 1), Sampling(), 0, StopRule((), (), 1, str))
        if not self._memory.add(holder, positions):
            return False
        self._now, self._holder = self._waiting.popleft(), holder
        return True

    def _leave(self) -> None:
        assert self._now is not None
        assert self._holder is not None
        if self._now.error is not None:  # what is no number must not stay for the next one
            self._decoder.cache.clear(self._memory.slot(self._holder))
        self._memory.remove(self._holder)
        self._now = self._holder = None

    def _advance(self, scoring: Scoring) -> int:
        """Compute one pass, or take in a text that needs none; return how many tokens that were."""
        before, text = scoring.before, scoring.texts[len(scoring.logprobs)]
        if scoring.after_V is None:
            return self._begin(scoring)
        at = scoring.computed - len(before)  # tokens of the text that were fed
        if at == 0 and text:
            scoring.so_far = self._logprob(scoring, scoring.after_V, text[0])
        fed = self._feed(scoring, text[:-1], at, len(before))
        if fed is not None:
            logits_NV, start, stop = fed
            for row, token in enumerate(text[start + 1 : stop + 1]):
                scoring.so_far += self._logprob(scoring, logits_NV[row], token)
            if stop < len(text) - 1:
                return stop - start
        scoring.logprobs.append(scoring.so_far)
        self._reach(scoring, len(before))
        scoring.so_far = 0.0
        return max(1, len(text))

    def _begin(self, scoring: Scoring) -> int:
        fed = self._feed(scoring, scoring.before, scoring.computed, 0)
        assert fed is not None
        logits_NV, start, stop = fed
        if stop == len(scoring.before):
            scoring.after_V = logits_NV[-1].clone()
        return stop - start

    def _feed(
        self, scoring: Scoring, tokens: Sequence[int], start: int, offset: int
    ) -> tuple[torch.Tensor, int, int] | None:
        """Feed tokens from number `start` on, up to the next multiple of PIECE; the first one has position `offset`.

        Returns:
            Their logits, first and last number; None if none is left.
        """
        from raygen.engines.attention import Span

        if start >= len(tokens):
            return None
        assert self._holder is not None
        position = offset + start
        stop = min(len(tokens), (position // PIECE + 1) * PIECE - offset)
        span = Span(self._memory.slot(self._holder), position, offset + stop)
        last_only = scoring.after_V is None
        logits_NV = self._decoder.forward_one(span, tokens[start:stop], scoring.adapter, last_only)
        self._reach(scoring, offset + stop)
        return logits_NV, start, stop

    def _reach(self, scoring: Scoring, computed: int) -> None:
        """So many positions are in the slot, and move with it."""
        assert self._holder is not None
        scoring.computed = self._holder.computed = computed

    def _logprob(self, scoring: Scoring, logits_V: torch.Tensor, token: int) -> float:
        from raygen.engines.logprobs import token_logprobs

        found = token_logprobs(logits_V.float(), token, 0)[0]
        if not math.isfinite(found):
            scoring.error = RowError("nan_logits", "the model gave no numbers for the text")
        return found


def tokens_of(
    request: LikelihoodRequest, tokenizer: ChatTokenizer, context: int
) -> tuple[list[int], list[list[int]]]:
    """Return the tokens that stand before the texts, and those of each text.

    Raises:
        RowError: `prompt_too_long`, they have more than `context` together; `invalid_messages`, `invalid_text`, `empty_prompt`.
    """
    messages = request.messages
    before = tokenizer.beginning() if messages is None else tokenizer.encode(text_only(messages, "torch"))
    texts = [tokenizer.encode_text(text) for text in request.texts]
    longest = len(before) + max(map(len, texts))
    if longest > context:
        raise RowError(
            "prompt_too_long", f"prompt and text have {longest} tokens together; the context holds {context}"
        )
    return before, texts
