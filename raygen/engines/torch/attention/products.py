"""Attention's products: queries with keys and weights with values, batched over slots, to the same bits in any company.

What a token's products see of its company is how many slots, query rows and keys they are computed with. A library chooses its
kernel by these sizes (MKL adds up 240 keys in two halves, and torch leaves small 16-bit batches to code of its own), so sizes are
tried like a layer's rows (`raygen.models.stable.products`), with sums that are exactly zero. Sizes that agree are computed as
they are; others are filled up or cut to sizes that do.
"""

# Shape letters: B = slots, K = key/value heads, R = query rows that share a key head, L = keys, D = width of a query and a key,
# V = of a value, P and Q = rows and keys of a trial that differ.

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch

from raygen.engines.torch.attention.fused import BLOCK, LEAST, fused_bits
from raygen.engines.torch.memory.arena import STEP
from raygen.models.stable.products import wide
from raygen.models.stable.trials import Trials, machine_trials
from raygen.models.stable.yardstick import Fact

KEYS = (
    256,
    128,
    64,
)  # of a block at most: longer sums are cut, for kernels cut them where their length suggests
LENGTHS = tuple(range(STEP, KEYS[0] + 1, STEP))
DECODE = tuple(product((1, 2, 4, 16, 64, 256), (1,)))  # slots and query tokens that are tried first
PROMPTS = tuple(product((1, 2, 8), (16, 32, 64, 128, 256)))
P, Q = 5, 13
FEW_ROWS, DRAWS = 16, 4

Shape = tuple[int, int, int]  # slots, query rows, keys
Try = Callable[[Shape], list[str]]


@dataclass(frozen=True, slots=True)
class Sizes:
    heads: int  # K
    shared: int  # query heads that share one
    width: int  # D
    value_width: int  # V
    dtype: torch.dtype

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return f"attention {self.heads}x{self.shared}x{self.width}x{self.value_width} {kind}"


class Tiles:
    """Which sizes one batched product computes alike.

    Args:
        subject: names it, among the trials.
        tried: tells a kernel's bits, for own lengths from the shortest on; "" where its rows differ among each other.
        first: slots and query rows to try at once. blocks: numbers of keys, of which the largest that agrees is taken.
    """

    def __init__(
        self,
        subject: str,
        tried: Try,
        first: Sequence[tuple[int, int]],
        blocks: Sequence[int],
        trials: Trials,
    ) -> None:
        self._subject, self._tried, self._trials = subject, tried, trials
        self._agreeing: dict[Shape, bool] = {}
        self._tiles: dict[Shape, Shape] = {}
        best = -1.0
        for block in blocks:
            lengths = [length for length in LENGTHS if length <= block]
            some = sorted({*lengths[::3], *lengths[-2:]})
            found = [self._bits((*pair, length)) for pair in first for length in some]
            for pair in first:
                own = self._bits((*pair, block))
                share = sum(_agree(bits, own) for bits in found) / len(found)
                if share > best:
                    best, self.block, self._pair, self.bits = share, block, pair, own
            if best == 1:
                break

    def tile(self, shape: Shape) -> Shape:
        """Return the sizes in which to compute a product of these sizes; keys are never cut."""
        if shape not in self._tiles:
            self._tiles[shape] = next(filter(self._agrees, self._larger(shape)), (*self._pair, self.block))
        return self._tiles[shape]

    def _larger(self, shape: Shape) -> Iterator[Shape]:
        slots, rows, keys = shape
        more_slots = [slots, *(2**n for n in range(9) if slots < 2**n <= 2 * self._pair[0])]
        for some_rows, some_keys in product(
            sorted({rows, max(rows, self._pair[1])}), sorted({keys, self.block})
        ):
            yield from ((some_slots, some_rows, some_keys) for some_slots in more_slots)

    def _agrees(self, shape: Shape) -> bool:
        if shape not in self._agreeing:
            self._agreeing[shape] = _agree(self._bits(shape), self.bits)
        return self._agreeing[shape]

    def _bits(self, shape: Shape) -> list[str]:
        trial = "x".join(map(str, shape))
        known = self._trials.get(self._subject, trial)
        if known is None:
            known = " ".join(self._tried(shape))
            self._trials.put(self._subject, trial, known)
        return known.split(" ")


def _agree(bits: list[str], other: list[str]) -> bool:
    return all(bits) and bits == other[: len(bits)]


class AttentionProducts:
    """The two products of attention layers of one size, on the present thread's number of threads."""

    def __init__(self, sizes: Sizes, on_cpu: bool) -> None:
        self.sizes = sizes
        self._trials = machine_trials() if on_cpu else None
        self._made: dict[tuple[str, bool], Tiles] = {}

    @cached_property
    def fused(self) -> tuple[int, str] | None:
        """With how many query rows at least attention is fused here, and what tells how it is computed; None: it is not."""
        sizes = self.sizes
        if self._trials is None or sizes.width != sizes.value_width:
            return None
        subject = f"fused {sizes}, {torch.get_num_threads()} threads"
        for least in LEAST:
            bits = self._trials.get(subject, str(least))
            if bits is None:
                bits = fused_bits(sizes.heads, sizes.shared, sizes.width, sizes.dtype, least)
                self._trials.put(subject, str(least), bits)
            if bits:
                return least, bits
        return None

    def scores(self, query_BKRD: torch.Tensor, keys_BKLD: torch.Tensor) -> torch.Tensor:
        """Return queries times keys, float32 (B, K, R, L)."""
        slots, heads, rows, _ = query_BKRD.shape
        keys = keys_BKLD.shape[2]
        tiles = self._tiles("scores", rows)
        if tiles is None:
            return torch.matmul(query_BKRD, _packed(keys_BKLD).transpose(2, 3)).float()
        if keys <= tiles.block:
            return _tiled(
                query_BKRD, _packed(keys_BKLD).transpose(2, 3), tiles.tile((slots, rows, keys)), 3
            ).float()
        scores_BKRL = query_BKRD.new_empty(slots, heads, rows, keys, dtype=torch.float32)
        for start in range(0, keys, tiles.block):
            part_BKDL = _packed(keys_BKLD[:, :, start : start + tiles.block]).transpose(2, 3)
            tile = tiles.tile((slots, rows, part_BKDL.shape[3]))
            scores_BKRL[..., start : start + tiles.block] = _tiled(query_BKRD, part_BKDL, tile, 3)
        return scores_BKRL

    def weighted(self, weights_BKRL: torch.Tensor, values_BKLV: torch.Tensor) -> torch.Tensor:
        """Return weights times values, (B, K, R, V), block by block of keys: those out of sight, however many, change nothing."""
        slots, _, rows, keys = weights_BKRL.shape
        tiles = self._tiles("values", rows)
        block = KEYS[0] if tiles is None else tiles.block
        total: torch.Tensor | None = None
        for start in range(0, keys, block):
            part_BKRL = weights_BKRL[..., start : start + block]
            tile = None if tiles is None else tiles.tile((slots, rows, part_BKRL.shape[3]))
            mixed = _tiled(part_BKRL, _packed(values_BKLV[:, :, start : start + block]), tile, 2)
            if keys <= block:
                return mixed
            total = mixed.float() if total is None else total.add_(mixed)
        assert total is not None
        return total.to(values_BKLV.dtype)

    def facts(self) -> list[Fact]:
        """Return what is computed, keys of a block, and bits, of every yardstick."""
        made = []
        if self.fused:
            least, bits = self.fused
            made = [(f"fused {self.sizes}, {least} rows and more", BLOCK, bits)]
        return made + sorted(
            (f"{name} {'prompts' if many else 'decode'} {self.sizes}", tiles.block, " ".join(tiles.bits))
            for (name, many), tiles in self._made.items()
        )

    def _tiles(self, name: str, rows: int) -> Tiles | None:
        if self._trials is None:
            return None
        many = rows > self.sizes.shared
        if (name, many) not in self._made:
            first = [(slots, tokens * self.sizes.shared) for slots, tokens in (PROMPTS if many else DECODE)]
            tried, blocks = (self._try_scores, KEYS[:1]) if name == "scores" else (self._try_values, KEYS)
            subject = (
                f"{name} {self.sizes}, {rows if not many else 'more'} rows, {torch.get_num_threads()} threads"
            )
            self._made[name, many] = Tiles(subject, tried, first, blocks, self._trials)
        return self._made[name, many]

    @torch.inference_mode()
    def _try_scores(self, shape: Shape) -> list[str]:
        slots, rows, keys = shape
        digest = hashlib.sha256()
        for query_PD, key_QD in self._zero_scores[: DRAWS if rows < FEW_ROWS else 1]:
            row_R, key_L = torch.arange(rows) % P, torch.arange(keys) % Q
            query_BKRD = query_PD[row_R].expand(slots, self.sizes.heads, -1, -1).contiguous()
            keys_BKLD = key_QD[key_L].expand(slots, self.sizes.heads, -1, -1).contiguous()
            found_BKRL = torch.matmul(query_BKRD, keys_BKLD.transpose(2, 3))
            first_PQ = found_BKRL[0, 0, :P, :Q]
            if not torch.equal(found_BKRL, first_PQ[row_R][:, key_L].expand_as(found_BKRL)):
                return [""]
            digest.update(first_PQ.contiguous().view(torch.uint8).numpy().tobytes())
        return [digest.hexdigest()[:12]]

    @torch.inference_mode()
    def _try_values(self, shape: Shape) -> list[str]:
        slots, rows, keys = shape
        lengths = [length for length in LENGTHS if length <= keys]
        entries = slots * self.sizes.heads
        row_R = torch.arange(rows) % P
        found: dict[int, str] = {}
        for turn in range(-(-len(lengths) // entries)):
            which = (torch.arange(entries) + turn * entries) % len(lengths)
            weights = self._zero_weights[which][:, row_R, :keys].view(slots, -1, rows, keys)
            values = self._zero_values[which][:, :keys].view(slots, -1, keys, self.sizes.value_width)
            mixed_ERV = torch.matmul(weights.contiguous(), values.contiguous()).flatten(0, 1)
            for number in which.unique().tolist():
                own_ERV = mixed_ERV[which == number]
                first_PV = own_ERV[0, :P]
                alike = torch.equal(own_ERV, first_PV[row_R].expand_as(own_ERV))
                bits = hashlib.sha256(first_PV.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[
                    :8
                ]
                found[number] = bits if alike and found.get(number, bits) == bits else ""
        return [found[number] for number in range(len(lengths))]

    @cached_property
    def _zero_scores(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Queries (P, D) and keys (Q, D) whose every product is exactly zero."""
        cases = []
        for seed in range(DRAWS):
            dice = torch.Generator().manual_seed(seed)
            half = self.sizes.width // 2
            halves = wide(torch.randn(P + Q, half, generator=dice), dice)
            order_D = torch.randperm(self.sizes.width, generator=dice)[: 2 * half]
            query_PD, key_QD = torch.zeros(P, self.sizes.width), torch.zeros(Q, self.sizes.width)
            query_PD[:, order_D] = halves[:P].repeat(1, 2)
            key_QD[:, order_D] = torch.cat([halves[P:], -halves[P:]], 1)
            cases.append((query_PD.to(self.sizes.dtype), key_QD.to(self.sizes.dtype)))
        return cases

    @cached_property
    def _zero(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights (length, P, L) that are zero behind an own length, and values (length, L, V): every product is exactly zero."""
        dice = torch.Generator().manual_seed(0)
        weights = torch.zeros(len(LENGTHS), P, KEYS[0])
        values = wide(torch.randn(len(LENGTHS), KEYS[0], self.sizes.value_width, generator=dice), dice)
        for number, length in enumerate(LENGTHS):
            order_L = torch.randperm(length, generator=dice)
            weights[number][:, order_L] = torch.rand(P, length // 2, generator=dice).repeat(1, 2)
            values[number, order_L[length // 2 :]] = -values[number, order_L[: length // 2]]
        return weights.to(self.sizes.dtype), values.to(self.sizes.dtype)

    @property
    def _zero_weights(self) -> torch.Tensor:
        return self._zero[0]

    @property
    def _zero_values(self) -> torch.Tensor:
        return self._zero[1]


def _packed(seen_BKLD: torch.Tensor) -> torch.Tensor:
    """Return keys or values; 16-bit ones on a CPU as a copy: oneDNN makes one itself, four times slower."""
    return seen_BKLD.contiguous() if seen_BKLD.device.type == "cpu" and seen_BKLD.itemsize == 2 else seen_BKLD


def _tiled(
    left_BKRM: torch.Tensor, right_BKMN: torch.Tensor, tile: Shape | None, keys_of_right: int
) -> torch.Tensor:
    """Return the batched product, computed in tiles of these sizes.

    Args:
        keys_of_right: which dimension of the right factor are the keys: 3 of scores; 2 of values, as the left one's last are.
    """
    slots, _, rows, _ = left_BKRM.shape
    keys = right_BKMN.shape[keys_of_right]
    if tile is None or tile == (slots, rows, keys):
        return torch.matmul(left_BKRM, right_BKMN)
    pad, more = torch.nn.functional.pad, tile[2] - keys
    if keys_of_right == 3:
        right_BKMN = pad(right_BKMN.transpose(2, 3), (0, 0, 0, more)).transpose(2, 3)
    else:
        left_BKRM, right_BKMN = pad(left_BKRM, (0, more)), pad(right_BKMN, (0, 0, 0, more))
    more_slots = (0, -slots % tile[0])
    left_BKRM = pad(left_BKRM, (0, 0, 0, -rows % tile[1], 0, 0, *more_slots))
    right_BKMN = pad(right_BKMN, (0, 0, 0, 0, 0, 0, *more_slots))
    found = [
        torch.cat([torch.matmul(part.contiguous(), right) for part in left.split(tile[1], 2)], 2)
        for left, right in zip(left_BKRM.split(tile[0]), right_BKMN.split(tile[0]), strict=True)
    ]
    whole_BKRN = torch.cat(found)[:slots, :, :rows]
    return whole_BKRN[..., :keys] if keys_of_right == 3 else whole_BKRN


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
