"""Likelihoods: how probable a model finds given texts, token by token; beside the running samples, in a slot like theirs.

A pass computes tokens of one text alone, cut where its own place says: products of matrices may round otherwise when
they have other rows beside, and so its bits depend on the text and what stands before it, never on what else there is to do.
"""

# Shape letters: V = vocabulary, N = tokens of a piece.

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raygen.config.sampling import Sampling
from raygen.engines.requests import LikelihoodRequest
from raygen.engines.text_messages import text_only
from raygen.engines.torch.facts import PIECE
from raygen.engines.torch.memory.arena import Memory
from raygen.engines.torch.sample import Choice, Sample
from raygen.engines.torch.stopping import StopRule
from raygen.errors import EngineError, RowError

if TYPE_CHECKING:  # both need torch, which a job's validation does not load
    import torch

    from raygen.engines.torch.decoder import Decoder
    from raygen.models.text.chat_tokenizer import ChatTokenizer


@dataclass(slots=True, eq=False)
class Scoring:
    """A request inside the engine: token ids of texts that each follow the same tokens, one or more."""

    before: list[int]
    texts: list[list[int]]
    adapter: str | None
    finished: asyncio.Future[None]
    top: int | None = (
        None  # tell each token's log-probability too, with so many others; None: of whole texts only
    )
    logprobs: list[float] = field(default_factory=list)  # of the texts that are done
    choices: list[Choice] = field(default_factory=list)  # one a token, if they are wanted
    error: RowError | None = None
    cancelled: bool = False  # nobody waits for it any more

    # How far it is. The keys and values of `before`, but for its last token, serve all texts, one after the other. That one
    # is fed with each text, so that no text is cut otherwise than it is by itself.
    computed: int = 0  # positions in the slot, of `before` and the text whose turn it is
    counted: int = 0  # tokens of that text
    so_far: float = 0.0  # their log-probability

    @property
    def positions(self) -> int:
        """Positions that it needs: the keys of a text's last token are never looked at."""
        return len(self.before) - 1 + max(map(len, self.texts))

    @property
    def done(self) -> bool:
        return self.error is not None or self.cancelled or len(self.logprobs) == len(self.texts)

    @property
    def text(self) -> list[int]:
        """The one whose turn it is."""
        return self.texts[len(self.logprobs)]

    def skip_empty(self) -> None:
        """Take in texts without tokens: they are certain."""
        while not self.done and not self.text:
            self._end_text()

    def piece(self) -> list[int]:
        """Return the next tokens to feed, up to the next multiple of PIECE; the first one has position `computed`."""
        start, shared = self.computed, len(self.before) - 1
        stop = (start // PIECE + 1) * PIECE
        if start < shared:
            return self.before[start : min(stop, shared)]
        return [self.before[-1], *self.text[:-1]][start - shared : stop - shared]

    def first_wanted(self) -> int:
        """Return how many of those tokens come before the first one whose logits tell of the text."""
        return len(self.before) if self.computed < len(self.before) - 1 else 0

    def take(self, fed: int, logits_NV: torch.Tensor) -> None:
        """Take in what a pass over the next `fed` tokens told, by the logits after those from `first_wanted` on."""
        from raygen.engines.torch.sampling import token_logprobs

        self.computed += fed
        for logits_V in logits_NV:
            token = self.text[self.counted]
            logprob, best = token_logprobs(logits_V.float(), token, self.top or 0)
            if self.top is not None:
                self.choices.append(Choice(token, logprob, best))
            self.so_far += logprob
            self.counted += 1
        if not math.isfinite(self.so_far):
            self.error = RowError("nan_logits", "the model gave no numbers for the text")
        elif self.counted == len(self.text):
            self._end_text()
            self.skip_empty()

    def _end_text(self) -> None:
        self.logprobs.append(self.so_far)
        self.computed = min(self.computed, len(self.before) - 1)
        self.counted, self.so_far = 0, 0.0


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
        self._holder: Sample | None = None  # holds its slot: to the memory, a prompt that is never done

    @property
    def busy(self) -> bool:
        return self._now is not None or bool(self._waiting)

    async def ask(
        self,
        before: list[int],
        texts: list[list[int]],
        adapter: str | None,
        wake: asyncio.Event,
        top: int | None = None,
    ) -> Scoring:
        """Return the log-probability of each text after `before`. Raises RowError `nan_logits`, or what `end` was given."""
        scoring = Scoring(before, texts, adapter, asyncio.get_running_loop().create_future(), top)
        self._asked.add(scoring)
        self._waiting.append(scoring)
        wake.set()
        try:
            await scoring.finished
        finally:
            scoring.cancelled = not scoring.done
            self._asked.discard(scoring)
        return scoring

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
        """Answer all that wait with the reason why the engine ends."""
        for scoring in self._asked:
            if not scoring.finished.done():
                scoring.finished.set_exception(reason)

    def step(self) -> list[Scoring]:
        """Compute a step's worth; return the requests that are done."""
        ended: list[Scoring] = []
        left = self._tokens
        while left > 0:
            if self._now is None and not self._begin(ended):
                break
            left -= self._compute()
            if self._now is not None and self._now.done:
                ended.append(self._leave(self._now))
        return ended

    def _begin(self, ended: list[Scoring]) -> bool:
        """Give the next request a slot; what needs none has ended. False: there is none, or no room."""
        while self._waiting:
            scoring = self._waiting[0]
            scoring.skip_empty()
            if scoring.done:
                ended.append(self._waiting.popleft())
                continue
            positions = scoring.positions
            holder = Sample([0] * (positions + 1), Sampling(), 0, StopRule((), (), 1, str))
            if not self._memory.add(holder, positions):
                return False
            self._now, self._holder = self._waiting.popleft(), holder
            return True
        return False

    def _compute(self) -> int:
        """Compute one pass; return how many tokens it had."""
        from raygen.engines.torch.passes import Span

        assert self._now is not None
        assert self._holder is not None
        if self._now.done:  # cancelled meanwhile
            return 0
        tokens, start = self._now.piece(), self._now.computed
        span = Span(self._memory.slot(self._holder), start, start + len(tokens))
        first = self._now.first_wanted()
        self._now.take(len(tokens), self._decoder.forward_piece(span, tokens, self._now.adapter, first))
        self._holder.computed = self._now.computed  # so many positions move with the slot
        return len(tokens)

    def _leave(self, scoring: Scoring) -> Scoring:
        assert self._holder is not None
        if scoring.error is not None:  # what is no number must not stay for the next one
            self._decoder.cache.clear(self._memory.slot(self._holder))
        self._memory.remove(self._holder)
        self._now = self._holder = None
        return scoring


def tokens_of(
    request: LikelihoodRequest, tokenizer: ChatTokenizer, context: int
) -> tuple[list[int], list[list[int]]]:
    """Return the tokens that stand before the texts, and those of each text.

    Raises:
        RowError: `prompt_too_long`, they have more than `context` together; `invalid_messages`, `invalid_text`, `empty_prompt`.
    """
    messages = request.messages
    before = (
        tokenizer.beginning() if messages is None else tokenizer.encode(text_only(messages, "engine `torch`"))
    )
    texts = [tokenizer.encode_text(text) for text in request.texts]
    longest = len(before) + max(map(len, texts))
    if longest > context:
        raise RowError(
            "prompt_too_long", f"prompt and text have {longest} tokens together; the context holds {context}"
        )
    return before, texts
