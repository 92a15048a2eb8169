"""The python step: a step of the user's own, which may write variables, give scores and reject samples."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from raygen.config.base import Frozen, Function, Name, Variable
from raygen.errors import RowError, storable, told
from raygen.steps.base import Step
from raygen.steps.checks.python import function_of
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Story
from raygen.steps.tools.excerpt import excerpt

if TYPE_CHECKING:
    from raygen.steps.context import Context

KEPT = 500  # characters of a text that says why
Text = Annotated[str, Field(max_length=1_000_000)]
Whole = Annotated[int, Field(gt=-(10**1000), lt=10**1000)]  # Python writes none of more than 4300 digits


class PythonStep(Frozen):
    """A step of your own: `def step(row: dict, samples: list[dict]) -> dict | None`.

    It gets the row's columns and variables, and the samples that are accepted so far. It returns any of `variables` (by
    name), `scores` (by the sample's number, then by name) and `rejected` (by the sample's number, with a text that says why).
    """

    function: Function = Field(
        description="module:function, importable from the current directory or the Python path, also where the engines run"
    )
    reads: tuple[str, ...] = Field((), max_length=256, description="columns and variables that it needs")
    writes: tuple[Variable, ...] = Field(
        (),
        max_length=64,
        description="variables that it may write: a text, a number, true or false, or a list of texts",
    )
    scores: tuple[Name, ...] = Field(
        (), max_length=64, description="scores that it gives every sample it does not reject"
    )


def _score(value: Any) -> Any:
    if (
        type(value) is int
        and abs(value) > 2**53
        and (value.bit_length() > 1023 or int(float(value)) != value)
    ):
        raise ValueError("a whole number that no double holds: scores are doubles")
    return value


Score = Annotated[float, BeforeValidator(_score)]


class Returned(BaseModel):
    """What a step's function may return."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    variables: dict[str, Text | bool | Whole | float | list[Text]] = {}
    scores: dict[int, dict[str, Score]] = {}
    rejected: dict[int, Text] = {}


class PythonFunctionStep(Step):
    """Calls the user's function in a thread. An exception in it fails the row: `step_error`."""

    about_samples = frozenset()
    needs_samples = False

    Config = PythonStep

    config: PythonStep

    def __init__(
        self, config: PythonStep, name: str, where: str, context: Context, before: Sequence[Step]
    ) -> None:
        super().__init__(config, name, where, context, before)
        self._function = function_of(config.function, f"{where}.function")
        self.columns = dict.fromkeys(config.reads, f"{where}.reads")
        self.writes = frozenset(config.writes)

    @classmethod
    def scores(cls, config: PythonStep, name: str) -> frozenset[str]:
        return frozenset(config.scores)

    async def run(self, story: Story, calls: Calls) -> None:
        drafts = {draft.number: draft for draft in story.accepted}
        samples = [draft.record() for draft in drafts.values()]
        # In a thread: what it does is unknown, and the engines' loop must not wait for it.
        found = await asyncio.to_thread(self._call, story.names(), samples)
        self._check(found, list(drafts))
        story.variables.update(found.variables)
        written = ", ".join(sorted(found.variables))
        story.decide(self.name, "done", detail=f"wrote {written}" if written else None)
        for number, draft in drafts.items():
            scores = found.scores.get(number)
            if scores:
                draft.scores.update(scores)
            if number in found.rejected:
                why = excerpt(storable(found.rejected[number]), KEPT)
                story.reject(draft, self.name, "step_rejected", why, scores)
            elif scores:
                story.decide(self.name, "scored", draft, scores=scores)

    def _call(self, row: dict[str, Any], samples: list[dict[str, Any]]) -> Returned:
        try:
            # Copies: what it changes in them is its own affair.
            found = self._function(copy.deepcopy(row), samples)
        except BaseException as error:  # also what would end the engines' loop: `sys.exit()` means this row
            raise RowError("step_error", f"{self.config.function}: {told(error)}") from error
        try:
            return Returned() if found is None else Returned.model_validate(found)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "what it returned"
            raise RowError(
                "step_error",
                f"{self.config.function}: {place}: {first['msg']}; wanted: None, or a dict of variables, scores, rejected",
            ) from None

    def _check(self, found: Returned, numbers: Sequence[int]) -> None:
        """Refuse what the job does not announce, since later steps were checked without it. Raises RowError."""
        for what, given, allowed in (
            ("variable", found.variables, self.config.writes),
            ("score", [name for scores in found.scores.values() for name in scores], self.config.scores),
            ("sample", [*found.scores, *found.rejected], numbers),
        ):
            for each in given:
                if each not in allowed:
                    listed = ", ".join(map(str, allowed)) or "none"
                    raise RowError(
                        "step_error", f"{self.config.function} returned {what} {each!r}; {what}s: {listed}"
                    )
        for number in numbers:
            missing = set(self.config.scores) - found.scores.get(number, {}).keys()
            if missing and number not in found.rejected:
                raise RowError(
                    "step_error",
                    f"{self.config.function} gave sample {number} no score {', '.join(sorted(missing))}",
                )
