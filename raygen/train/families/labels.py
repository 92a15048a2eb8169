"""Labels: a classifier's classes, and how a label column names them: by name or by number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raygen.errors import ConfigError, RowError

SHOWN = 8  # labels that a message lists


class Labels:
    """A classifier's classes, in the order of their numbers."""

    def __init__(self, names: Sequence[str], column: str) -> None:
        self.names = tuple(names)
        self._column = column
        self._numbers = {name: number for number, name in enumerate(self.names)}

    def number_of(self, value: Any) -> int:
        """Return the number of the class that a row names.

        Raises:
            RowError: `missing_value`; `unknown_label`, no such class.
        """
        if value is None:
            raise RowError("missing_value", f"objective.label: column {self._column!r} is null in this row")
        number = self._numbers.get(value) if isinstance(value, str) else as_number(value)
        if number is None or not 0 <= number < len(self.names):
            raise RowError(
                "unknown_label", f"column {self._column!r} holds {value!r:.80}; labels: {listed(self.names)}"
            )
        return number

    @staticmethod
    def found(values: Mapping[Any, int], column: str, own: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return the classes of a column: the base's own if it has some; else the names found, sorted, or as many as numbers.

        Args:
            values: what the column holds, and how often.
            own: the classes of the base's head.

        Raises:
            ConfigError: fewer than two; one that is not the base's; numbers with gaps, or beside names.
        """
        counted = {value: count for value, count in values.items() if value is not None}
        names = sorted(value for value in counted if isinstance(value, str))
        numbers = sorted(
            number
            for value in counted
            if not isinstance(value, str) and (number := as_number(value)) is not None
        )
        where = f"objective.label: column {column!r}"
        odd = [value for value in counted if not isinstance(value, str) and as_number(value) is None]
        if odd:
            raise ConfigError(f"{where} holds {odd[0]!r}, which is neither a name nor a number of a class")
        if own is not None:
            outside = [name for name in names if name not in own]
            outside += [str(number) for number in numbers if not 0 <= number < len(own)]
            if not outside:
                return own
            if names and not set(names) & set(own):
                own = None  # other classes altogether: the base gets a new head
            else:
                raise ConfigError(
                    f"{where} holds {listed(outside)}; the base's labels are {listed(own)}: "
                    "set objective.labels for others"
                )
        if names and numbers:
            raise ConfigError(f"{where} holds names ({listed(names)}) and numbers ({listed(numbers)})")
        if len(names) + len(numbers) < 2:
            raise ConfigError(f"{where} holds {listed(names or numbers) or 'nothing'}; two labels are needed")
        if numbers and numbers != list(range(len(numbers))):
            raise ConfigError(
                f"{where} holds the numbers {listed(numbers)}; without objective.labels they have to be 0 to n - 1"
            )
        return tuple(names) or tuple(map(str, numbers))


def as_number(value: Any) -> int | None:
    """Return a class's number; None for what is none, such as 0.5 or True."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        return None
    return int(value)


def listed(values: Sequence[Any]) -> str:
    """Return the first values, and how many more there are."""
    more = f" and {len(values) - SHOWN} more" if len(values) > SHOWN else ""
    return ", ".join(str(value) for value in values[:SHOWN]) + more
