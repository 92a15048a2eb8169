"""Python: a check of the user's own."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field

from raygen.config.base import Frozen, Function
from raygen.errors import ConfigError, RowError, storable, told
from raygen.registry import imported
from raygen.steps.base import Step
from raygen.steps.checks import Check, Verdict
from raygen.steps.row.calls import Calls
from raygen.steps.row.story import Draft, Story


class PythonCheck(Frozen):
    """A check of your own: `def check(sample: str, row: dict) -> bool | str`; a text says what is wrong."""

    function: Function = Field(
        description="module:function, importable from the current directory or the Python path, also where the engines run"
    )


class PythonFunctionCheck(Check):
    """Calls the user's function in a thread. An exception in it fails the row: `check_error`."""

    reason = "check_failed"
    scored = False

    Config = PythonCheck

    config: PythonCheck

    def __init__(self, config: PythonCheck, step: Step) -> None:
        super().__init__(config, step)
        self._function = function_of(config.function, f"{step.where}.python.function")

    async def verdicts(self, story: Story, drafts: Sequence[Draft], calls: Calls) -> list[Verdict]:
        # In a thread: what it does is unknown, and the engines' loop must not wait for it.
        return [await asyncio.to_thread(self._verdict, draft.text, story.names(draft)) for draft in drafts]

    def _verdict(self, sample: str, row: dict[str, Any]) -> Verdict:
        try:
            found = self._function(sample, copy.deepcopy(row))  # what it changes in it is its own affair
        except BaseException as error:  # also what would end the engines' loop: `sys.exit()` means this row
            raise RowError("check_error", f"{self.config.function}: {told(error)}") from error
        if isinstance(found, str):
            return Verdict(False, storable(found))
        if not isinstance(found, bool):
            raise RowError(
                "check_error",
                f"{self.config.function} returned {_shown(found)}; wanted: True, False, or a text",
            )
        return Verdict(found, None if found else f"{self.config.function} says no")


def _shown(value: object) -> str:
    try:
        return storable(repr(value))
    except BaseException:  # noqa: BLE001 - also `sys.exit()` in a `__repr__`
        return f"a {type(value).__name__}"


def function_of(place: str, where: str) -> Callable[..., Any]:
    """Import `module:function`, also from the current directory. Raises ConfigError, naming `where`."""
    try:
        function: Callable[..., Any] = imported(place, where)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if not callable(function):
        raise ConfigError(f"{where}: {place!r} is no function")
    return function
