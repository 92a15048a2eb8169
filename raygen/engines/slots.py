"""Slots: the key/value cache of a batch whose rows come and go, and attention over it.

Slot i of every layer holds one sample's keys and values, position p at index p. A row's numbers must not
depend on its neighbours; floating-point sums depend on how a kernel cuts its loops, so every size that a row
sees is its own or rounded up: prompt and attended lengths to LENGTH_STEP, rows of a product to ROW_STEP.
"""

# Shape letters: S = slots, B = rows of this pass, T = query tokens, L = attended keys, D = head width,
# H = query heads, K = key/value heads, G = H / K query heads that share a key head.

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache, CacheLayerMixin

from raygen.errors import EngineError

LENGTH_STEP = 16
ROW_STEP = 8  # where threads share an fp32 product, 9 rows differ from 8 or 16; multiples of 8 were all alike
QUERY_BLOCK = 256  # queries whose scores are in memory at once; fixed, so that it is the same for every batch
ATTENTION = "raygen_slots"  # unknown to transformers' masks on purpose: it then makes none, and Span decides


def round_up(value: int, step: int) -> int:
    return -(-value // step) * step


class Span:
    """Which keys each query of one pass may see: those at its own position and before, within a window."""

    def __init__(self, positions_BT: torch.Tensor, keys: int) -> None:
        self._query_BT1 = positions_BT[:, :, None]
        self._key_L = torch.arange(keys, device=positions_BT.device)
        self._hidden: dict[int | None, torch.Tensor] = {}

    def hidden(self, window: int | None) -> torch.Tensor:
        """Return a bool tensor (B, T, L), True where a key is out of sight; the same one for all layers."""
        if window not in self._hidden:
            hidden_BTL = self._key_L > self._query_BT1
            if window is not None:
                hidden_BTL |= self._key_L <= self._query_BT1 - window
            self._hidden[window] = hidden_BTL
        return self._hidden[window]


def attention(
    module: torch.nn.Module,
    query_BHTD: torch.Tensor,
    key_BKLD: torch.Tensor,
    value_BKLD: torch.Tensor,
    attention_mask: None,
    *,
    scaling: float | None = None,
    span: Span | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend, with softmax in fp32; registered with transformers under ATTENTION.

    Raises:
        EngineError: the model's attention has a feature that this function does not compute.
    """
    if span is None or s_aux is not None:
        raise EngineError(f"engine `torch` does not know the attention of {type(module).__name__}")
    b, h, t, d = query_BHTD.shape
    k, keys = key_BKLD.shape[1], key_BKLD.shape[2]
    scale = d**-0.5 if scaling is None else scaling
    query_BKGTD = query_BHTD.reshape(b, k, h // k, t, d)
    key_BKDL = key_BKLD.transpose(2, 3)
    hidden_BTL = span.hidden(sliding_window)
    blocks = []
    for start in range(0, t, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, t)
        # In a prefill the queries are the keys: later ones are out of sight of the whole block.
        seen = stop if t == keys else keys
        block_BKRD = query_BKGTD[:, :, :, start:stop].reshape(b, k, -1, d)
        scores_BKGTL = torch.matmul(block_BKRD, key_BKDL[..., :seen]).float().mul_(scale)
        scores_BKGTL = scores_BKGTL.view(b, k, h // k, stop - start, seen)
        if softcap is not None:
            scores_BKGTL = torch.tanh(scores_BKGTL / softcap) * softcap
        scores_BKGTL.masked_fill_(hidden_BTL[:, None, None, start:stop, :seen], float("-inf"))
        weights_BKRL = torch.softmax(scores_BKGTL, -1).to(query_BHTD.dtype).view(b, k, -1, seen)
        mixed_BKRD = torch.matmul(weights_BKRL, value_BKLD[:, :, :seen])
        blocks.append(mixed_BKRD.view(b, h, stop - start, -1))
    mixed_BHTD = blocks[0] if len(blocks) == 1 else torch.cat(blocks, 2)
    return mixed_BHTD.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, attention)


class SlotLayer(CacheLayerMixin):
    """One layer's keys and values, (S, K, length, D). Made by the first forward pass, which knows K and D."""

    def __init__(self, cache: SlotCache) -> None:
        super().__init__()
        self._cache = cache

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.keys = self._new(key_states)
        self.values = self._new(value_states)
        self.is_initialized = True

    def _new(self, like_BKTD: torch.Tensor) -> torch.Tensor:
        _, heads, _, width = like_BKTD.shape
        return like_BKTD.new_zeros(self._cache.slots, heads, self._cache.length, width)

    def grow(self) -> None:
        if self.is_initialized:
            keys, values = self.keys, self.values
            self.lazy_initialization(keys, values)
            self.keys[:, :, : keys.shape[2]] = keys
            self.values[:, :, : values.shape[2]] = values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        cache = self._cache
        if cache.prefilling:
            tokens = key_states.shape[2]
            self.keys[cache.slot_index, :, :tokens] = key_states[cache.row_index]
            self.values[cache.slot_index, :, :tokens] = value_states[cache.row_index]
            return key_states, value_states
        rows = key_states.shape[0]
        self.keys[cache.slot_index, :, cache.positions] = key_states[:, :, 0]
        self.values[cache.slot_index, :, cache.positions] = value_states[:, :, 0]
        return self.keys[:rows, :, : cache.attended], self.values[:rows, :, : cache.attended]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.length, 0

    def get_seq_length(self) -> int:
        return 0  # rows differ; positions are always passed to the model instead

    def get_max_length(self) -> int:
        return -1


class SlotCache(Cache):
    """The layers' slots. `write_prompts` or `write_tokens` says what the next pass stores, and where."""

    def __init__(self, layers: int, slots: int, device: torch.device) -> None:
        super().__init__(layers=[SlotLayer(self) for _ in range(layers)])
        self.slots = round_up(slots, ROW_STEP)
        self.length = 8 * LENGTH_STEP
        self.device = device
        self.prefilling = True
        self.attended = 0
        self.slot_index = self.row_index = self.positions = torch.empty(0, dtype=torch.long, device=device)

    def write_prompts(self, rows: list[int], slots: list[int], tokens: int) -> None:
        """The next pass is a prefill of `tokens` positions; its row rows[i] goes to slot slots[i]."""
        self._fit(tokens)
        self.prefilling = True
        self.row_index = torch.tensor(rows, device=self.device)
        self.slot_index = torch.tensor(slots, device=self.device)

    def write_tokens(self, positions: list[int]) -> None:
        """The next pass has one token a row; row i stands at positions[i] of slot i."""
        self.attended = round_up(max(positions) + 1, LENGTH_STEP)
        self._fit(self.attended)
        self.prefilling = False
        self.slot_index = torch.arange(len(positions), device=self.device)
        self.positions = torch.tensor(positions, device=self.device)

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` positions of one slot to another."""
        for layer in self.layers:
            layer.keys[target, :, :tokens] = layer.keys[source, :, :tokens]
            layer.values[target, :, :tokens] = layer.values[source, :, :tokens]

    def clear(self, slot: int) -> None:
        """Zero a slot's values. What is out of sight has weight 0, but 0 x NaN is NaN: no NaN may stay."""
        for layer in self.layers:
            layer.values[slot].zero_()

    def _fit(self, tokens: int) -> None:
        if tokens > self.length:
            self.length = round_up(max(tokens, self.length * 3 // 2), LENGTH_STEP)
            for layer in self.layers:
                layer.grow()
