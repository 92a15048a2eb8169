"""Attention over slots: what one pass computes, and how each token of it sees its own sample and nothing else.

All tokens of a pass, of running samples and of prompts, lie side by side in one row. A token's numbers must not
depend on its neighbours; floating-point sums depend on how a kernel cuts its loops, so every size that a token's
products see is its own, fixed, or rounded up to a step at which kernels were found to agree.
"""

# Shape letters: N = tokens of this pass, R = rows that decode, B = prompts alike, T = query tokens of one,
# L = attended keys, D = head width, H = query heads, K = key/value heads, G = H / K query heads that share a key head.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers import AttentionInterface

from raygen.engines.torch.attention_products import AttentionProducts, Sizes
from raygen.engines.torch.memory.arena import STEP, Slot, round_up
from raygen.errors import EngineError
from raygen.models.stable.yardstick import Fact

if TYPE_CHECKING:
    from raygen.engines.torch.memory.kv_cache import KVLayer

ATTENTION = "raygen_slots"  # unknown to transformers' masks on purpose: it then makes none, and Pass decides


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


class Products:
    """The products of all attention layers of a model, by size."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._by_size: dict[Sizes, AttentionProducts] = {}

    def of(self, sizes: Sizes) -> AttentionProducts:
        if sizes not in self._by_size:
            self._by_size[sizes] = AttentionProducts(sizes, self.device.type == "cpu")
        return self._by_size[sizes]

    def facts(self) -> list[Fact]:
        return [fact for each in self._by_size.values() for fact in each.facts()]


class Pass:
    """One forward pass: single tokens of running samples, then pieces of prompts, then filling up to a multiple of STEP.

    Args:
        decode: spans of one token, by slot length and slot; of each length the slots from 0 on, with gaps at most.
        pieces: spans of prompts. `order` tells in which order their tokens must be given.
        scratch: a position for the filling tokens.
        least: tokens to fill up to, where there are fewer.
    """

    def __init__(
        self,
        decode: Sequence[Span],
        pieces: Sequence[Span],
        scratch: int,
        products: Products,
        least: int = STEP,
    ) -> None:
        self.products = products
        device = products.device
        self.layer: KVLayer  # the one whose turn it is: set when its keys are written
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
        self.filling = round_up(max(self.tokens, least), STEP) - self.tokens
        self._where += [(scratch, 1, 0, 1)] * self.filling
        begin, length, start, stop = torch.tensor(self._where).T
        counts = stop - start
        first = (start - counts.cumsum(0) + counts).repeat_interleave(counts)
        self._position_N = first + torch.arange(len(first))
        self._begin_N, self._length_N = begin.repeat_interleave(counts), length.repeat_interleave(counts)
        self.position_N = self._position_N.to(device)

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
                    attended=round_up(max(span.stop for span in rows), STEP),
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


def attention(
    module: torch.nn.Module,
    query_1HND: torch.Tensor,
    key_1KND: torch.Tensor,
    value_1KND: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float | None = None,
    now: Pass | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend, with softmax in fp32; registered with transformers under ATTENTION. Returns (1, N, H, D).

    Raises:
        EngineError: the model's attention has a feature that this function does not compute.
    """
    if now is None or s_aux is not None:
        raise EngineError(f"engine `torch` does not know the attention of {type(module).__name__}")
    query_NHD = query_1HND[0].transpose(0, 1)
    scale = query_NHD.shape[2] ** -0.5 if scaling is None else scaling
    mixed_NHD = query_NHD.new_empty(*query_NHD.shape[:2], value_1KND.shape[3])
    mixed_NHD[now.tokens :] = 0  # what only fills up the pass must be numbers too
    for group in now.groups:
        keys_BKLD, values_BKLD = now.layer.slots(group.offset, group.length, group.slots)
        if group.index is not None:
            keys_BKLD = keys_BKLD[group.index, :, : group.attended]
            values_BKLD = values_BKLD[group.index, :, : group.attended]
        else:
            keys_BKLD, values_BKLD = keys_BKLD[:, :, : group.attended], values_BKLD[:, :, : group.attended]
        tokens = slice(group.first, group.first + group.count)
        given_NHD = query_NHD[tokens]
        b, t = group.position_BT.shape
        if group.place_N is not None:
            spread_NHD = given_NHD.new_zeros(b * t, *given_NHD.shape[1:])
            given_NHD = spread_NHD.index_copy_(0, group.place_N, given_NHD)
        mixed_BTHD = _attend(
            given_NHD.reshape(b, t, *given_NHD.shape[1:]),
            keys_BKLD,
            values_BKLD,
            group,
            now.products,
            scale,
            sliding_window,
            softcap,
        )
        found_NHD = mixed_BTHD.reshape(b * t, *mixed_BTHD.shape[2:])
        mixed_NHD[tokens] = found_NHD if group.place_N is None else found_NHD[group.place_N]
    return mixed_NHD[None], None


def _attend(
    query_BTHD: torch.Tensor,
    keys_BKLD: torch.Tensor,
    values_BKLD: torch.Tensor,
    group: Group,
    products: Products,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    b, t, h, d = query_BTHD.shape
    k, keys = keys_BKLD.shape[1], keys_BKLD.shape[2]
    query_BKRD = query_BTHD.view(b, t, k, h // k, d).permute(0, 2, 3, 1, 4).reshape(b, k, -1, d)
    own = products.of(Sizes(k, h // k, d, values_BKLD.shape[3], query_BTHD.dtype))
    scores_BKRL = own.scores(query_BKRD, keys_BKLD).mul_(scale)
    scores_BKGTL = scores_BKRL.view(b, k, h // k, t, keys)
    if softcap is not None:
        scores_BKGTL = torch.tanh(scores_BKGTL / softcap) * softcap
    scores_BKGTL.masked_fill_(group.mask(window)[:, None, None], float("-inf"))
    weights_BKRL = torch.softmax(scores_BKGTL, -1).to(query_BTHD.dtype).view(b, k, -1, keys)
    return own.weighted(weights_BKRL, values_BKLD).view(b, h, t, -1).transpose(1, 2)


AttentionInterface.register(ATTENTION, attention)
