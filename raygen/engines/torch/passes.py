"""Passes: which tokens one forward pass computes, where their keys and values go, and which are attended together.

All tokens of a pass, of running samples and of prompts, lie side by side in one row. The cache writes a pass's keys and values,
attention reads them: both know the pass, and neither knows the other.
"""

# Shape letters: N = tokens of this pass, B = prompts alike, T = query tokens of one, L = attended keys, D = head width,
# K = key/value heads, P = positions of the arena, S = slots.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from raygen.engines.torch.attention.fused import fused_keys
from raygen.engines.torch.attention.products import Products
from raygen.engines.torch.memory.arena import STEP, Slot, round_up


class Layer(Protocol):
    """The keys and values of one layer, as attention reads them."""

    def slots(self, offset: int, length: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return views of the keys and values of the first slots of a length, (S, K, length, D) each."""


@dataclass(slots=True, frozen=True)
class Span:
    """Tokens of one sample: positions `start` to `stop` of a slot."""

    slot: Slot
    start: int
    stop: int


@dataclass(slots=True)
class Group:
    """Tokens attended together: one a slot (decoding), or prompts of equal lengths in slots of one length."""

    first: int  # of its tokens in the row
    count: int  # of its tokens
    offset: int
    length: int
    slots: int  # how many slots are looked at
    index: torch.Tensor | None  # (B,) which of them; None: all
    position_BT: torch.Tensor
    place_N: torch.Tensor | None  # where the group's tokens stand in (B x T); None: at every place
    attended: int
    hidden: dict[int | None, torch.Tensor] = field(default_factory=dict)
    biases: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def mask(self, window: int | None) -> torch.Tensor:
        """Return a bool tensor (B, T, L), True where a key is out of sight; the same one for all layers."""
        if window not in self.hidden:
            query_BT1 = self.position_BT[:, :, None]
            key_L = torch.arange(self.attended, device=query_BT1.device)
            hidden_BTL = key_L > query_BT1
            if window is not None:
                hidden_BTL |= key_L <= query_BT1 - window
            self.hidden[window] = hidden_BTL
        return self.hidden[window]

    def bias(self, window: int | None, shared: int, dtype: torch.dtype) -> torch.Tensor:
        """Return the mask as what is added to scores, 0 or -inf; the same one for all layers.

        Returns:
            (B, 1, shared x T, L), or of one query token, whose rows see the same keys, (B, 1, 1, L).
        """
        if window not in self.biases:
            hidden_BTL = self.mask(window)
            bias_BTL = torch.zeros(hidden_BTL.shape, dtype=dtype, device=hidden_BTL.device)
            bias_BTL.masked_fill_(hidden_BTL, float("-inf"))
            if bias_BTL.shape[1] > 1:
                bias_BTL = bias_BTL.repeat(1, shared, 1)
            self.biases[window] = bias_BTL[:, None]
        return self.biases[window]


class Pass:
    """One forward pass: single tokens of running samples, then pieces of prompts, then filling up to a multiple of STEP.

    Args:
        decode: spans of one token, by slot length and slot; of each length the slots from 0 on, with gaps at most.
        pieces: spans of prompts. `order` tells in which order their tokens must be given.
        scratch: a position for the filling tokens.
    """

    def __init__(
        self,
        decode: Sequence[Span],
        pieces: Sequence[Span],
        scratch: int,
        products: Products,
    ) -> None:
        self.products = products
        device = products.device
        self.layer: Layer
        self.groups: list[Group] = []
        self._device = device
        self._rows: dict[int, torch.Tensor] = {}
        self._where: list[tuple[int, int, int, int]] = []  # first position of a slot, its length, from, to
        self._decoding(decode)
        alike: dict[tuple[int, int, int], list[int]] = {}
        for number, piece in enumerate(pieces):
            tokens = round_up(piece.stop - piece.start, STEP)
            alike.setdefault((tokens, round_up(piece.stop, STEP), piece.slot.offset), []).append(number)
        self.order = [number for numbers in alike.values() for number in numbers]
        for (tokens, attended, _), numbers in alike.items():
            self._prompts([pieces[number] for number in numbers], tokens, attended)
        self.tokens = sum(stop - start for _, _, start, stop in self._where)
        self.filling = round_up(max(self.tokens, 1), STEP) - self.tokens
        self._where += [(scratch, 1, 0, 1)] * self.filling
        begin, length, start, stop = torch.tensor(self._where).T
        counts = stop - start
        first = (start - counts.cumsum(0) + counts).repeat_interleave(counts)
        self._position_N = first + torch.arange(len(first))
        self._begin_N, self._length_N = begin.repeat_interleave(counts), length.repeat_interleave(counts)
        self.position_N = self._position_N.to(device)

    def turn_to(self, layer: Layer) -> None:
        """Let attention read this layer: its keys and values of the pass have just been written.

        transformers writes a layer's keys and attends to them at once, so the layer written last is the one at hand. Its number
        would not do: architectures name it differently.
        """
        self.layer = layer

    def _decoding(self, spans: Sequence[Span]) -> None:
        by_length: dict[int, list[Span]] = {}
        for span in spans:
            by_length.setdefault(span.slot.length, []).append(span)
        for length, rows in by_length.items():
            slots = rows[-1].slot.index + 1
            positions = torch.zeros(slots, dtype=torch.long)
            index = torch.tensor([span.slot.index for span in rows])
            positions[index] = torch.tensor([span.start for span in rows])
            self.groups.append(
                Group(
                    first=len(self._where),
                    count=len(rows),
                    offset=rows[0].slot.offset,
                    length=length,
                    slots=slots,
                    index=None,
                    position_BT=positions[:, None].to(self._device),
                    place_N=None if slots == len(rows) else index.to(self._device),
                    attended=min(fused_keys(max(span.stop for span in rows)), length),
                )
            )
            self._take(rows)

    def _prompts(self, pieces: Sequence[Span], tokens: int, attended: int) -> None:
        starts = torch.tensor([piece.start for piece in pieces])
        steps = torch.arange(tokens)
        counts = torch.tensor([piece.stop - piece.start for piece in pieces])
        real = steps < counts[:, None]
        whole = bool(real.all())
        first = sum(stop - start for _, _, start, stop in self._where)
        self.groups.append(
            Group(
                first=first,
                count=int(counts.sum()),
                offset=pieces[0].slot.offset,
                length=pieces[0].slot.length,
                slots=max(piece.slot.index for piece in pieces) + 1,
                index=torch.tensor([piece.slot.index for piece in pieces], device=self._device),
                position_BT=(starts[:, None] + steps).to(self._device),
                place_N=None if whole else real.flatten().nonzero()[:, 0].to(self._device),
                attended=attended,
            )
        )
        self._take(pieces)

    def _take(self, spans: Sequence[Span]) -> None:
        for span in spans:
            slot = span.slot
            self._where.append((slot.offset + slot.index * slot.length, slot.length, span.start, span.stop))

    def rows(self, heads: int) -> torch.Tensor:
        """Return where in an arena (P x K, D) this pass's keys go, (N x K,): token by token, head by head."""
        if heads not in self._rows:
            head_K = torch.arange(heads)
            rows_NK = (self._begin_N * heads + self._position_N)[:, None] + self._length_N[:, None] * head_K
            self._rows[heads] = rows_NK.flatten().to(self._device)
        return self._rows[heads]
