"""Runner: one step of the engine: what the scheduler decides, through the decoder and the sampler. Blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from raygen.engines.torch.memory.arena import Memory
from raygen.engines.torch.memory.prefixes import Prefixes
from raygen.engines.torch.sample import Sample
from raygen.engines.torch.scheduler import Scheduler
from raygen.engines.torch.step import Step
from raygen.errors import RowError

if TYPE_CHECKING:  # both need torch, which a job's validation does not load
    import torch

    from raygen.engines.torch.decoder import Decoder


class Stepper:
    """Gives every running sample a token a step. One thread calls it.

    Args:
        rows: samples at once. prompt_tokens: of prompts, in one step.
    """

    def __init__(
        self, decoder: Decoder, memory: Memory, prefixes: Prefixes, rows: int, prompt_tokens: int
    ) -> None:
        self._decoder = decoder
        self._memory = memory
        self._prefixes = prefixes
        self.scheduler = Scheduler(memory, prefixes, rows, prompt_tokens)
        self.steps = 0
        self._kv_peak = 0

    @property
    def running(self) -> int:
        return self.scheduler.running

    @property
    def waiting(self) -> int:
        return self.scheduler.waiting

    @property
    def busy(self) -> bool:
        return bool(self.running or self.waiting)

    def figures(self) -> dict[str, float]:
        """Totals since the start, and gauges, by the names under which progress, report and metrics show them."""
        return {
            "prompt_tokens_computed": self.scheduler.computed_tokens,
            "prompt_tokens_reused": self.scheduler.reused_tokens,
            "preemptions": self.scheduler.preemptions,
            "steps": self.steps,
            "kv_positions": self._memory.used,
            "kv_peak": self._kv_peak,
            "kv_limit": self._memory.positions,
        }

    def forget(self, adapter: str) -> None:
        """Give up what is kept of prompts of an adapter that no sample uses."""
        self._prefixes.forget(adapter)

    def step(self, joining: Sequence[Sample]) -> list[Sample]:
        """Take in samples and compute one step; return those that got a token or failed. Empty: nothing to do."""
        self.scheduler.submit(joining)
        step = self.scheduler.next_step()
        if not step:
            return []
        self.steps += 1
        self._kv_peak = max(self._kv_peak, self._memory.used)
        cache = self._decoder.cache
        for sample, nodes in step.loads:
            cache.load(self._memory.slot(sample), [node.block for node in nodes])
        logits_BV, row_of = self._forward(step)
        for leader, follower in self.scheduler.computed(step):
            cache.copy(self._memory.slot(leader), self._memory.slot(follower), follower.computed)
            row_of[follower] = row_of[leader]
        # A preempted sample's later tokens are known already.
        samples = [sample for sample in row_of if sample.computed == sample.known]
        self._append(samples, logits_BV, [row_of[sample] for sample in samples])
        for sample, group in groupby(self.scheduler.complete(step), key=lambda found: found[0]):
            done = [node for _, node in group]
            cache.save(self._memory.slot(sample), done[0].start, [node.block for node in done])
            self._prefixes.publish(done)
        return samples

    def _forward(self, step: Step) -> tuple[torch.Tensor, dict[Sample, int]]:
        """Return logits, and the row of each sample whose next token, if it is not known, they tell."""
        from raygen.engines.torch.passes import Span

        slot = self._memory.slot
        decode = [
            (Span(slot(s), s.computed, s.computed + 1), s.token_at(s.computed), s.adapter)
            for s in step.decode
        ]
        pieces = [
            (Span(slot(p.sample), p.start, p.stop), p.sample.prompt[p.start : p.stop], p.sample.adapter)
            for p in step.pieces
        ]
        works = [*step.decode, *(piece.sample for piece in step.pieces)]
        wanted = [i for i, s in enumerate(step.decode) if s.computed + 1 == s.known]
        wanted += [i for i, p in enumerate(step.pieces, len(step.decode)) if p.stop == len(p.sample.prompt)]
        logits_BV = self._decoder.forward(decode, pieces, wanted)
        return logits_BV, {works[number]: row for row, number in enumerate(wanted)}

    def _append(self, samples: Sequence[Sample], logits_BV: torch.Tensor, rows: list[int]) -> None:
        from raygen.engines.torch.sampling import choose_tokens

        if not samples:
            return
        if rows != list(range(len(logits_BV))):
            logits_BV = logits_BV[rows]
        for sample, choice in zip(samples, choose_tokens(logits_BV, samples), strict=True):
            if isinstance(choice, RowError):
                sample.error = choice
                self._decoder.cache.clear(self._memory.slot(sample))
                continue
            if sample.sampling.logprobs is not None:  # before the token: who streams may look at any moment
                sample.choices.append(choice)
            sample.tokens.append(choice.token)
            sample.finish_reason = sample.rule.check(sample.tokens)
            if sample.finish_reason is not None:
                sample.text = sample.rule.text(sample.tokens)
