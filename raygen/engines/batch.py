"""Batch: samples that are generated together, a token a step each; they join and leave between steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raygen.config import Sampling
from raygen.engines.stopping import StopRule
from raygen.errors import RowError

if TYPE_CHECKING:  # the decoder needs torch, which a job's validation does not load
    from raygen.engines.decoder import SlotDecoder


@dataclass(slots=True, eq=False)
class Sample:
    """One text in the making. Samples of one request share the `prompt` list itself, hence its prefill."""

    prompt: list[int]
    sampling: Sampling
    seed: int
    rule: StopRule
    tokens: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: str | None = None  # set when done
    error: RowError | None = None  # or this, when it failed
    cancelled: bool = False  # set by the engine: nobody waits for it any more

    @property
    def done(self) -> bool:
        return self.finish_reason is not None or self.error is not None or self.cancelled


class Batch:
    """At most `limit` samples in slots 0 to n-1 of a decoder. All methods block; one thread calls them."""

    def __init__(self, decoder: SlotDecoder, limit: int) -> None:
        self._decoder = decoder
        self._active: list[Sample] = []
        self.limit = limit

    def step(self, joining: Sequence[Sample]) -> list[Sample]:
        """Take in samples (no more than there is room for), give every one a token; return those now done."""
        finished = self._leave()
        if joining:
            self._prefill(joining)
            finished += self._leave()
        if self._active:
            logits_BV = self._decoder.decode(
                [sample.tokens[-1] for sample in self._active],
                [len(sample.prompt) + len(sample.tokens) - 1 for sample in self._active],
            )
            self._append(self._active, logits_BV)
            finished += self._leave()
        return finished

    def _prefill(self, joining: Sequence[Sample]) -> None:
        prompts: dict[int, list[int]] = {}
        slots: dict[int, list[int]] = {}
        for slot, sample in enumerate(joining, len(self._active)):
            prompts[id(sample.prompt)] = sample.prompt
            slots.setdefault(id(sample.prompt), []).append(slot)
        logits_BV = self._decoder.prefill(list(prompts.values()), list(slots.values()))
        row_of = {key: row for row, key in enumerate(prompts)}
        self._active += joining
        self._append(joining, logits_BV[[row_of[id(sample.prompt)] for sample in joining]])

    def _append(self, samples: Sequence[Sample], logits_BV: object) -> None:
        from raygen.engines.sampling import choose_tokens

        chosen = choose_tokens(
            logits_BV,
            [sample.sampling for sample in samples],
            [sample.seed for sample in samples],
            [len(sample.tokens) for sample in samples],
        )
        for sample, token in zip(samples, chosen, strict=True):
            if token is None:
                sample.error = RowError(
                    "nan_logits", f"the model gave no numbers at token {len(sample.tokens) + 1}"
                )
                continue
            sample.tokens.append(token)
            sample.finish_reason = sample.rule.check(sample.tokens)
            if sample.finish_reason is not None:
                sample.text = sample.rule.text(sample.tokens)

    def _leave(self) -> list[Sample]:
        """Take the samples that are done out, and pack the others into the first slots."""
        finished = []
        for slot in range(len(self._active) - 1, -1, -1):
            sample = self._active[slot]
            if not sample.done:
                continue
            finished.append(sample)
            if sample.error is not None:
                self._decoder.clear(slot)
            last = self._active.pop()
            if last is not sample:
                self._active[slot] = last
                self._decoder.move(len(self._active), slot, len(last.prompt) + len(last.tokens) - 1)
        return finished
