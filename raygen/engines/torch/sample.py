"""Sample: one text in the making, as scheduler, sampler and engine see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from raygen.config.sampling import Sampling
from raygen.engines.requests import INTERACTIVE, TokenMask
from raygen.engines.torch.memory.prefixes import Node
from raygen.engines.torch.stopping import StopRule
from raygen.errors import RowError


class Draw(Protocol):
    """What sampling reads of a sample."""

    prompt: list[int]
    tokens: list[int]  # so far
    sampling: Sampling
    seed: int  # in [0, 2**64)
    rule: StopRule
    token_mask: TokenMask | None


@dataclass(slots=True)
class Choice:
    """A row's next token. Log-probabilities (natural) if its sampling asks for them."""

    token: int
    logprob: float | None = None
    top: list[tuple[int, float]] = field(default_factory=list)  # most probable first; the lower id of equals


@dataclass(slots=True, eq=False)
class Sample:
    """One text in the making. Samples of one request share the `prompt` list itself, hence its prefill."""

    prompt: list[int]
    sampling: Sampling
    seed: int
    rule: StopRule
    adapter: str | None = None
    token_mask: TokenMask | None = None
    priority: int = INTERACTIVE

    tokens: list[int] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)  # one a token, if log-probabilities are wanted
    text: str = ""  # when finished
    finish_reason: str | None = None  # set when done
    error: RowError | None = None  # or this, when it failed
    cancelled: bool = False  # set by the engine: nobody waits for it any more

    # The scheduler's: where its keys and values are, and how far they reach.
    place: tuple[int, int] | None = None  # length class and slot
    computed: int = 0  # positions whose keys and values are in the slot
    reused: int | None = (
        None  # of the prompt, that were there when it first got a slot; None: it has not had one
    )
    passed: int = 0  # how often younger ones went first
    nodes: list[Node] = field(default_factory=list)  # prefix blocks that it is to compute for others
    leader: Sample | None = None  # who computes the prompt for this one too

    @property
    def done(self) -> bool:
        return self.finish_reason is not None or self.error is not None or self.cancelled

    @property
    def known(self) -> int:
        """Positions whose token is known: the prompt, and what was generated."""
        return len(self.prompt) + len(self.tokens)

    @property
    def most(self) -> int:
        """Positions it may need in the end; the last token's keys are never computed."""
        return len(self.prompt) + self.rule.limit - 1

    @property
    def prefilling(self) -> bool:
        return self.computed < len(self.prompt)

    def token_at(self, position: int) -> int:
        prompt = len(self.prompt)
        return self.prompt[position] if position < prompt else self.tokens[position - prompt]
