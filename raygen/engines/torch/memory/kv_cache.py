"""KVCache: keys and values of all layers, in one arena of positions a layer, and in blocks for prefixes.

A slot is K runs of `length` positions of width D, one a key head: the first `n` slots of a length are a strided
view, and attention needs no copy of them.
"""

# Shape letters: P = positions of the arena, N = tokens of this pass, K = key/value heads, D = head width, S = slots.

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from raygen.engines.torch.memory.arena import Slot
from raygen.engines.torch.memory.prefixes import BLOCK
from raygen.engines.torch.passes import Pass


class KVLayer(CacheLayerMixin):
    """One layer's arena, (P x K, D). Made by the first forward pass, which knows K and D."""

    def __init__(self, cache: KVCache) -> None:
        super().__init__()
        self._cache = cache
        self.heads = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.heads = key_states.shape[1]
        # One position more, for tokens that only fill up a pass.
        rows = (self._cache.positions + 1) * self.heads
        blocks = self._cache.blocks
        self.keys = _zeros(key_states, rows, key_states.shape[3])
        self.values = _zeros(value_states, rows, value_states.shape[3])
        self.block_keys = _zeros(key_states, blocks, self.heads, BLOCK, key_states.shape[3])
        self.block_values = _zeros(value_states, blocks, self.heads, BLOCK, value_states.shape[3])
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write this pass's keys and values, (1, K, N, D). They come back as they are: attention reads the arena."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        now = self._cache.now
        now.turn_to(self)
        rows = now.rows(self.heads)
        self.keys.index_copy_(0, rows, key_states[0].transpose(0, 1).reshape(len(rows), -1))
        self.values.index_copy_(0, rows, value_states[0].transpose(0, 1).reshape(len(rows), -1))
        return key_states, value_states

    def slots(self, offset: int, length: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return views of the keys and values of the first slots of a length, (S, K, length, D) each."""
        rows = slice(offset * self.heads, (offset + count * length) * self.heads)
        shape = (count, self.heads, length, -1)
        return self.keys[rows].view(shape), self.values[rows].view(shape)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.positions, 0

    def get_seq_length(self) -> int:
        return 0  # rows differ; positions are always passed to the model instead

    def get_max_length(self) -> int:
        return -1


class KVCache(Cache):
    """The layers' arenas. `now` is the pass that is being computed.

    Args:
        positions: of the arena. blocks: of BLOCK tokens each, for prefixes.
    """

    def __init__(self, layers: int, positions: int, blocks: int) -> None:
        super().__init__(layers=[KVLayer(self) for _ in range(layers)])
        self.positions = positions
        self.blocks = blocks
        self.now: Pass

    def _each(self) -> list[KVLayer]:
        return [layer for layer in self.layers if layer.is_initialized]

    @torch.inference_mode()
    def copy(self, source: Slot, target: Slot, positions: int) -> None:
        if positions:
            for layer in self._each():
                for kept, new in zip(_one(layer, source), _one(layer, target), strict=True):
                    new[:, :positions] = kept[:, :positions]

    @torch.inference_mode()
    def rearrange(self, moves: Sequence[tuple[int, int, int]]) -> None:
        for layer in self._each():
            heads = layer.heads
            for arena in (layer.keys, layer.values):
                # Set aside first, for they may overlap: one layer's share at a time.
                kept = [arena[old * heads : (old + count) * heads].clone() for old, _, count in moves]
                for (_, new, count), rows in zip(moves, kept, strict=True):
                    arena[new * heads : (new + count) * heads] = rows

    @torch.inference_mode()
    def load(self, slot: Slot, blocks: Sequence[int]) -> None:
        """Copy prefix blocks to the beginning of a slot."""
        index = torch.tensor(blocks)
        for layer in self._each():
            index = index.to(layer.keys.device)
            for kept, own in zip((layer.block_keys, layer.block_values), _one(layer, slot), strict=True):
                target = own[:, : len(blocks) * BLOCK].unflatten(1, (len(blocks), BLOCK))
                target.copy_(kept.index_select(0, index).transpose(0, 1))

    @torch.inference_mode()
    def save(self, slot: Slot, start: int, blocks: Sequence[int]) -> None:
        """Copy a slot's positions from `start` on to prefix blocks."""
        stop, index = start + len(blocks) * BLOCK, torch.tensor(blocks)
        for layer in self._each():
            index = index.to(layer.keys.device)
            for kept, own in zip((layer.block_keys, layer.block_values), _one(layer, slot), strict=True):
                kept.index_copy_(
                    0, index, own[:, start:stop].unflatten(1, (len(blocks), BLOCK)).transpose(0, 1)
                )

    @torch.inference_mode()
    def clear(self, slot: Slot) -> None:
        """Forget a slot whose numbers are broken: what is masked must be a number."""
        for layer in self._each():
            for arena in _one(layer, slot):
                arena.zero_()


def _zeros(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """Zeros: what is masked is multiplied by 0, and must be a number. On a CPU no memory is taken until it is written."""
    size = math.prod(shape) * like.element_size()
    if like.device.type != "cpu" or not size:
        return like.new_zeros(shape)
    pages = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # The system clears pages when they are first used: in small ones that took seconds of the first steps.
        with suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=like.dtype).view(shape)


def _one(layer: KVLayer, slot: Slot) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the keys and values of one slot, (K, length, D) each."""
    begin = (slot.offset + slot.index * slot.length) * layer.heads
    rows = slice(begin, begin + slot.length * layer.heads)
    shape = (layer.heads, slot.length, -1)
    return layer.keys[rows].view(shape), layer.values[rows].view(shape)
