"""Finding: one line of the doctor's: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "warning", "error"]
WIDTH = 110


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: what was looked at, in a word or two.
        state: `warning`: runs work, worse than they could; `error`: they do not.
        value: how it is, for a person.
        remedy: what to do; empty if there is nothing to do.
        facts: the same for programs.
    """

    name: str
    state: State
    value: str
    remedy: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Yield it as lines of at most WIDTH characters: state, name, value; the remedy below."""
        head = f"{self.state:<8} {self.name:<18} "
        text = self.value + (f". {self.remedy}" if self.remedy else "")
        yield from textwrap.wrap(
            text,
            WIDTH,
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_long_words=False,
            break_on_hyphens=False,
        ) or [head.rstrip()]


def size(count_bytes: float) -> str:
    """`1.5 GiB`, `12 MiB`."""
    return f"{count_bytes / 2**30:.1f} GiB" if count_bytes >= 2**29 else f"{count_bytes / 2**20:.0f} MiB"
