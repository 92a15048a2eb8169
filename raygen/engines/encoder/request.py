"""Encoder request: what the encoder engine remembers of a request, and of each text in it, until it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from raygen.engines.requests import INTERACTIVE
from raygen.engines.stepping import Pending
from raygen.errors import RowError

if TYPE_CHECKING:
    from raygen.models.text.encoder import Tokens


@dataclass(slots=True, eq=False)
class PendingTexts(Pending):
    """A request inside the engine: done when all its texts are, or one of them failed."""

    texts: Sequence[str | tuple[str, str]]
    priority: int = INTERACTIVE
    rows: dict[int, np.ndarray] = field(default_factory=dict)  # what was computed, by the text's place
    tokens: int = 0
    error: RowError | None = None
    cancelled: bool = False  # nobody waits: texts that are still queued are passed by

    def done(self) -> bool:
        return self.error is not None or len(self.rows) == len(self.texts)

    def stacked(self, width: int) -> np.ndarray:
        """Return what was computed, float32 (texts, width), in the order of the request."""
        rows = [self.rows[index] for index in range(len(self.texts))]
        return np.stack(rows) if rows else np.zeros((0, width), np.float32)


@dataclass(slots=True, eq=False)
class Text:
    pending: PendingTexts
    index: int  # its place in the request
    tokens: Tokens

    @property
    def size(self) -> int:
        return len(self.tokens["input_ids"])

    @property
    def cancelled(self) -> bool:
        return self.pending.cancelled or self.pending.done()
