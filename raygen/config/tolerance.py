"""Tolerance: how many failed rows a run bears before it stops, as a job says it: a number, or a part such as `5%`."""

from __future__ import annotations

from dataclasses import dataclass

from raygen.config.base import is_number

LEAST_ROWS = 400  # a part is taken of so many rows at least: what fails first need not be what fails most


@dataclass(frozen=True)
class Tolerance:
    said: str
    rows: int | None = None
    part: float = 0.0  # 0..1, when `rows` is None

    @classmethod
    def of(cls, said: str | int) -> Tolerance:
        """Read a number of rows, or a share such as `5%`. Raises ValueError."""
        text = str(said).strip()
        if is_number(text) and len(text) <= 18:
            return cls(text, int(text))
        whole, dot, digits = text.removesuffix("%").partition(".")
        if text.endswith("%") and is_number(whole) and (is_number(digits) or not dot):
            part = float(text.removesuffix("%")) / 100
            if part < 1:
                return cls(text, None, part)
        raise ValueError(
            "give a number of rows such as 100, or a part of them from 0% to below 100%, such as 5%"
        )

    def exceeded(self, failed: int, done: int, total: int) -> bool:
        """Have more rows failed than the run bears?

        Args:
            failed: of the rows done so far; done: those; total: of the whole run.
        """
        if self.rows is not None:
            return failed > self.rows
        return failed > self.part * max(done, min(total, LEAST_ROWS))
