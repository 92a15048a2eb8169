"""The redact step: personal data in what was generated is replaced, wherever the row's outcome would keep it."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator

from raygen.config.base import Frozen
from raygen.data.text.pii import find_pii, require_pii
from raygen.steps.base import Step
from raygen.steps.row.calls import Calls
from raygen.steps.row.record import BESIDE
from raygen.steps.row.story import REDACTED, Story

if TYPE_CHECKING:
    from raygen.runs.outcome import Outcome
    from raygen.steps.context import Context

CUT = "..."  # where a quotation was shortened (excerpt.py); some just end
LONG = 300  # characters of a text that may just end
LEAST = 3  # characters of something personal that are looked for beside a cut


Entity = Literal["email", "phone", "credit_card", "iban", "ip", "url", "ssn"]


class Redact(Frozen):
    """Replace personal data: in all that the row's outcome keeps of what was generated."""

    ALL: ClassVar[tuple[str, ...]] = ("email", "phone", "credit_card", "iban", "ip", "url", "ssn")

    model_config = ConfigDict(serialize_by_alias=True)

    entities: tuple[Entity, ...] = Field(
        ("email", "phone", "credit_card", "iban", "ip", "ssn"), min_length=1, description="what is looked for"
    )
    replacement: str = Field(
        "<{entity}>", alias="with", max_length=100, description="what stands there then; {entity} is its name"
    )

    @field_validator("entities")
    @classmethod
    def _once(cls, entities: tuple[Entity, ...]) -> tuple[Entity, ...]:
        if len(set(entities)) != len(entities):
            raise ValueError("an entity stands there twice")
        return entities

    @field_validator("replacement")
    @classmethod
    def _plain(cls, text: str) -> str:
        """Refuse a replacement that looks like what is taken out: it would be found again."""
        rest = text.replace("{entity}", "")
        if re.search(r"[{}]", rest):
            raise ValueError("the only name in braces is {entity}")
        if found := re.search(r"[\d@.:/+]", rest):
            raise ValueError(f"{found[0]!r} could be taken for personal data; leave out digits and @ . : / +")
        return text


@dataclass(slots=True)
class _Seen:
    """What the step has looked at in one row. It lives as long as the row does."""

    changed: dict[int, bool] = field(default_factory=dict)  # sample number -> was anything found in it?
    gone: dict[str, str] = field(default_factory=dict)  # what was found -> what stands there now


class RedactStep(Step):
    """Accepted samples and variables are redacted in its turn, so that later steps see nothing else; all the rest at the end.

    The rest: samples that were rejected or put aside, also of rows that never came to this step, details of decisions,
    recorded answers, the error's message. A sample that was changed is not taken over by other runs (`--reuse`): it is
    not what the model said.
    """

    seals = True

    Config = Redact

    config: Redact

    @property
    def judges(self) -> bool:
        return True

    @classmethod
    def check(cls, config: Redact, where: str, context: Context, number: int, scores: frozenset[str]) -> None:
        late = [step.verb for step in context.steps[number + 1 :] if step.kind.makes_text]
        if late:
            raise ValueError(
                f"{where}: `{late[-1]}` after it makes new text, which it would not see in its turn; move it behind"
            )

    def require(self) -> None:
        require_pii()

    async def run(self, story: Story, calls: Calls) -> None:
        seen: _Seen = story.own.setdefault(self.name, _Seen())
        # In a thread: a long text takes a while, and the engines' loop must not wait for it.
        await asyncio.to_thread(self._redact, story, seen)

    def _redact(self, story: Story, seen: _Seen) -> None:
        for draft in story.accepted:
            found: Counter[str] = Counter()
            text = self._clean(draft.text, seen, found)
            seen.changed[draft.number] = bool(found)
            if found:
                # Tokens would spell out what is gone.
                draft.sample = replace(draft.said, text=text, token_ids=None, logprobs=None)
            if draft.answer is not None:
                draft.answer = self._clean(self._without(draft.answer, seen), seen)
            counts: dict[str, float] = {
                entity: float(found[entity]) for entity in self.config.entities if found[entity]
            }
            story.decide(
                self.name,
                REDACTED if found else "passed",
                draft,
                detail=", ".join(f"{count:g} {entity}" for entity, count in counts.items()) or None,
                scores=counts or None,
            )
        story.variables = {name: self._deep(value, seen) for name, value in story.variables.items()}

    def seal(self, outcome: Outcome, story: Story) -> None:
        seen: _Seen = story.own.setdefault(self.name, _Seen())
        for sample in (*outcome.samples, *outcome.discarded):
            if sample["number"] not in seen.changed:
                text = self._clean(sample["text"], seen)
                seen.changed[sample["number"]] = text != sample["text"]
                sample["text"] = text
                if sample["answer"] is not None:
                    sample["answer"] = self._clean(self._without(sample["answer"], seen), seen)
            for name in BESIDE:  # no step has seen these
                sample[name], was = self._beside(sample[name], seen), sample[name]
                seen.changed[sample["number"]] |= sample[name] != was
            if seen.changed[sample["number"]]:
                sample["logprobs"], sample["call"] = None, None
        outcome.variables = {name: self._deep(value, seen) for name, value in outcome.variables.items()}
        outcome.calls = [call for call in outcome.calls if not self._is_in(call["value"], seen)]
        said = [each["detail"] for each in outcome.attempts]
        if outcome.error is not None:
            said.append(outcome.error["message"])
        if any(CUT in each or len(each) >= LONG for each in said if each is not None):
            # What a cut leaves of something is known only by the whole: it may stand in the input.
            self._deep(list(story.row.values()), seen)
        for attempt in outcome.attempts:
            if attempt["detail"] is not None:
                attempt["detail"] = self._quoted(attempt["detail"], seen)
        if outcome.error is not None:
            outcome.error["message"] = self._quoted(outcome.error["message"] or "", seen)

    def _beside(self, said: str | None, seen: _Seen) -> str | None:
        """Redact what came beside a text. JSON of objects stays JSON, unless something personal is a number in it."""
        if said is None:
            return None
        try:
            value = json.loads(said)
        except ValueError:
            value = None
        if isinstance(value, dict | list) and (put := self._deep(value, seen)) != value:
            said = json.dumps(put, ensure_ascii=False)
        return str(self._deep(said, seen))

    def _clean(self, text: str, seen: _Seen, counts: Counter[str] | None = None) -> str:
        """Return a text with the finds replaced; notes them."""
        parts, at = [], 0
        for span in find_pii(text, self.config.entities):
            put = self.config.replacement.replace("{entity}", span.entity)
            seen.gone.setdefault(text[span.start : span.end], put)
            parts += [text[at : span.start], put]
            at = span.end
            if counts is not None:
                counts[span.entity] += 1
        return "".join([*parts, text[at:]]) if parts else text

    def _deep(self, value: Any, seen: _Seen) -> Any:
        """Replace personal data in all the texts of a value."""
        if isinstance(value, str):
            return self._clean(self._without(value, seen), seen)
        if isinstance(value, dict):
            return {self._deep(key, seen): self._deep(each, seen) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._deep(each, seen) for each in value)
        return value

    @staticmethod
    def _without(text: str, seen: _Seen) -> str:
        """Replace what was found elsewhere: by itself, out of its sentence, it may not be known for what it is."""
        for gone in sorted(seen.gone, key=len, reverse=True):
            text = text.replace(gone, seen.gone[gone])
        return text

    def _quoted(self, text: str, seen: _Seen) -> str:
        """Redact a text that quotes others, perhaps shortened: also what is left of something at a cut or at an end."""
        text = self._clean(self._without(text, seen), seen)
        for gone, put in seen.gone.items():
            line = " ".join(gone.split())
            text = _uncut(text.replace(line, put), line, put)
        return text

    def _is_in(self, value: str, seen: _Seen) -> bool:
        """Is there anything personal in a recorded answer? Only one that a model wrote has texts."""
        texts = _texts(json.loads(value))
        return any(self._clean(self._without(text, seen), seen) != text for text in texts)


def _uncut(text: str, whole: str, put: str) -> str:
    """Replace what a cut left of something: its beginning before the cut or the text's end, its end behind the cut."""
    parts = text.split(CUT)
    for number, part in enumerate(parts):
        for size in range(len(whole) - 1, LEAST - 1, -1):
            left = whole[:size].rstrip()
            if part.rstrip().endswith(left):
                part = f"{part.rstrip().removesuffix(left)}{put}"
                break
        for size in range(len(whole) - 1, LEAST - 1, -1):
            left = whole[-size:].lstrip()
            if number and part.lstrip().startswith(left):
                part = f" {put}{part.lstrip().removeprefix(left)}"
                break
        parts[number] = part
    return CUT.join(parts)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner: Sequence[Any] = (
        value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    )
    return [text for each in inner for text in _texts(each)]
