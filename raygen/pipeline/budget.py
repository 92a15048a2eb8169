"""The budget: caps on what one session may use, and on how long it may take."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from raygen.engines import engine_facts
from raygen.errors import ConfigError
from raygen.program.job import Job
from raygen.usage import TOKENS, UNITS, Usage, unit_of


@dataclass(frozen=True)
class Budget:
    """Caps on one session. At a cap no new chunk begins; those in flight end and are committed.

    Args:
        amounts: the most of each unit; `tokens` counts the tokens of every kind together.
        seconds: since the session began.
    """

    amounts: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None

    def reached(self, usage: Usage, elapsed_s: float) -> str | None:
        """Return the first cap that is reached, in words."""
        for name, most in self.amounts.items():
            if usage.budgeted(name) >= most:
                what = (
                    f"token budget of {most:,}"
                    if name == TOKENS
                    else f"budget of {unit_of(name).words(most)}"
                )
                return f"{what} reached"
        if self.seconds is not None and elapsed_s >= self.seconds:
            return f"time budget of {self.seconds:g} s reached"
        return None


def budget_of(job: Job, tokens: int | None, seconds: float | None, given: Sequence[str] | None) -> Budget:
    """Return the budget that a command's options say.

    Args:
        tokens: `--budget-tokens`. seconds: `--budget-s`.
        given: every `--budget`: `UNIT=AMOUNT`, such as `images=500`.

    Raises:
        ConfigError: it is not of that form; no engine of the job counts in that unit; or a unit is given twice.
    """
    own = {unit for model in job.models.values() for unit in engine_facts(model.engine).units}
    amounts: dict[str, float] = {} if tokens is None else {TOKENS: tokens}
    for each in given or ():
        unit, amount = _parsed(each, {TOKENS, *UNITS, *own})
        if unit in amounts:
            raise ConfigError(f"--budget {each}: there is a budget of {unit} already; give one")
        amounts[unit] = amount
    return Budget(amounts, seconds)


def _parsed(given: str, units: Collection[str]) -> tuple[str, float]:
    unit, _, text = given.partition("=")
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 < amount < math.inf:
        raise ConfigError(f"--budget {given}: give a unit and a positive amount, such as images=500")
    if unit not in units:
        near = difflib.get_close_matches(unit, sorted(units), 1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(f"--budget {given}: no unit {unit!r}{hint}; units: {', '.join(sorted(units))}")
    return unit, int(amount) if amount.is_integer() else amount
