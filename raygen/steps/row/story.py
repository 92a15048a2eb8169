"""Story: one row on its way through a program: its variables, its samples, and every decision about them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from raygen.engines.requests import GeneratedSample, MediaSample, TokenLogprob

# Decisions that bring a sample with them, and those after which it goes on. `dropped` puts it aside unfaulted; every
# other one rejects it.
MADE = frozenset({"generated", "refined", "split", "answered"})
SELECTED, DROPPED, REDACTED = "selected", "dropped", "redacted"
GOES_ON = MADE | {"passed", "scored", SELECTED, REDACTED}


@dataclass(slots=True, eq=False)
class Draft:
    """A sample in a row's story. `number` is its own in the row; `index` is its place among those asked for together."""

    number: int
    index: int
    step: str
    call: str  # which call made it (Calls.key)
    seed: int
    sample: GeneratedSample | MediaSample
    prompt_tokens: int | None
    round: int = 0  # how often it was refined
    parent: int | None = None  # the number of the draft that it is to mend
    answer: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    reason: str | None = None  # why it is rejected
    finding: str | None = None  # the same in words, for a model and for people
    failed: str | None = None  # the step that rejected it

    @property
    def said(self) -> GeneratedSample:
        """The text, with what came beside it. Steps that read texts are refused before work where samples are media."""
        if isinstance(self.sample, MediaSample):
            raise TypeError(f"sample {self.number} is {self.sample.media_type}, no text")
        return self.sample

    @property
    def text(self) -> str:
        return self.said.text

    @property
    def accepted(self) -> bool:
        return self.reason is None

    def record(self) -> dict[str, Any]:
        """Return it as an outcome holds it (SAMPLE)."""
        return {
            "index": self.index,
            "number": self.number,
            "step": self.step,
            "parent": self.parent,
            "call": self.call,
            "seed": self.seed,
            "scores": dict(self.scores),
            **(
                self._medium(self.sample) if isinstance(self.sample, MediaSample) else self._text(self.sample)
            ),
        }

    def _text(self, sample: GeneratedSample) -> dict[str, Any]:
        logprobs = sample.logprobs
        return {
            "text": sample.text,
            "answer": self.answer,
            "reasoning": sample.reasoning,
            "refusal": sample.refusal,
            "tool_calls": sample.tool_calls,
            "finish_reason": sample.finish_reason,
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "output_tokens": sample.output_tokens,
                "units": None if sample.units is None else dict(sample.units),
            },
            "logprobs": None if logprobs is None else [_logprob(each) for each in logprobs],
        }

    def _medium(self, sample: MediaSample) -> dict[str, Any]:
        return {
            "media": sample.media,
            "media_type": sample.media_type,
            "width": sample.width,
            "height": sample.height,
            "seconds": sample.seconds,
            "size_bytes": len(sample.media),
            "digest": hashlib.sha256(sample.media).hexdigest(),
            "finish_reason": sample.finish_reason,
            "usage": {"prompt_tokens": self.prompt_tokens, "units": dict(sample.usage)},
        }


def _logprob(token: TokenLogprob) -> dict[str, Any]:
    names = ("token_id", "token", "logprob")
    top = [dict(zip(names, other, strict=True)) for other in token.top]
    return {"token_id": token.token_id, "token": token.token, "logprob": token.logprob, "top": top}


@dataclass(slots=True)
class Story:
    """What becomes of a row, over all attempts at it.

    Attributes:
        row_id: the row's key, or its place in the source.
        row: its columns, as they were read.
        attempt: how often the whole program was tried before.
        variables: what steps wrote.
        drafts: the samples of the last `generate`, rejected ones included.
        discarded: all other samples.
        decisions: in order, as outcomes hold them (ATTEMPT).
        drafted: how many samples there were, which numbers the next one.
        into: the variable that the first accepted sample becomes.
        refused: why the row is rejected, whatever its samples are.
        fingerprint: of what is compared with other rows at the run's end.
        own: what steps keep for themselves until the row's end, by their names.
    """

    row_id: str
    row: Mapping[str, Any]
    attempt: int = 0
    variables: dict[str, Any] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    discarded: list[Draft] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    drafted: int = 0
    into: str | None = None
    refused: str | None = None
    fingerprint: bytes | None = None
    own: dict[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> list[Draft]:
        return [draft for draft in self.drafts if draft.accepted]

    @property
    def reason(self) -> str | None:
        """Why the row is rejected as things stand; None while a sample is accepted, or before there is any."""
        if self.refused is not None:
            return self.refused
        if self.accepted or not self.drafts:
            return None
        return self.drafts[-1].reason

    def written(self) -> dict[str, Any]:
        """Return the variables, as steps wrote them."""
        accepted = self.accepted
        return (
            {**self.variables, self.into: accepted[0].text}
            if self.into and accepted
            else dict(self.variables)
        )

    def settle(self, into: str | None) -> None:
        """Begin with new samples; the first of those accepted so far stays as a variable, if it has a name."""
        self.variables = self.written()
        self.discard(self.drafts)
        self.into = into

    def again(self) -> None:
        """Begin anew, with other seeds. What was made and decided so far stays in the story; no variable does."""
        self.discard(self.drafts)
        self.variables, self.into, self.refused = {}, None, None
        self.attempt += 1

    def names(self, draft: Draft | None = None, **more: Any) -> dict[str, Any]:
        """Return what templates read: columns, then variables; about one sample also `sample` and `answer`."""
        found = {**self.row, **self.written(), **more}
        if draft is not None:
            found |= {
                "sample": draft.text,
                "answer": draft.answer if draft.answer is not None else draft.text,
            }
        return found

    def draft(
        self,
        step: str,
        call: str,
        index: int,
        seed: int,
        sample: GeneratedSample | MediaSample,
        prompt_tokens: int | None,
        parent: Draft | None = None,
    ) -> Draft:
        """Take in a sample."""
        made = Draft(self.drafted, index, step, call, seed, sample, prompt_tokens)
        if parent is not None:
            made.parent, made.round = parent.number, parent.round + 1
        self.drafted += 1
        self.drafts.append(made)
        return made

    def discard(self, drafts: list[Draft]) -> None:
        """Put samples aside; they stay in the story."""
        self.drafts = [draft for draft in self.drafts if draft not in drafts]
        self.discarded += drafts

    def reject(
        self,
        draft: Draft,
        step: str,
        reason: str,
        finding: str,
        scores: Mapping[str, float] | None = None,
        model: str | None = None,
    ) -> None:
        """Reject a sample: why as a word that programs match on, and in words for a model and for people."""
        draft.reason, draft.finding, draft.failed = reason, finding, step
        self.decide(step, reason, draft, detail=finding, model=model, scores=scores)

    def refuse(self, step: str, reason: str, finding: str) -> None:
        """Reject the row as a whole: no later step sees it, and all its samples are put aside."""
        self.settle(None)
        self.refused = reason
        self.decide(step, reason, detail=finding)

    def decide(
        self,
        step: str,
        decision: str,
        draft: Draft | None = None,
        *,
        detail: str | None = None,
        model: str | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> None:
        """Keep a decision: one line of what a step did, and why."""
        self.decisions.append(
            {
                "step": step,
                "attempt": self.attempt,
                "sample": None if draft is None else draft.number,
                "decision": decision,
                "detail": detail,
                "model": model,
                "scores": None if scores is None else dict(scores),
            }
        )
