"""Decoder: a causal LM over slots. Tokens of many samples in, logits out; knows neither requests nor sampling."""

# Shape letters: N = tokens of this pass, B = rows whose logits are wanted, D = model width, V = vocabulary.

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from raygen.engines.torch.attention.over_slots import ATTENTION
from raygen.engines.torch.attention.products import Products
from raygen.engines.torch.memory.arena import STEP, Slot, round_up
from raygen.engines.torch.memory.kv_cache import KVCache
from raygen.engines.torch.passes import Pass, Span
from raygen.errors import EngineError
from raygen.models.stable.products import StableProducts
from raygen.models.stable.rows import stabilise_rows
from raygen.models.stable.yardstick import words_of
from raygen.models.text.private import takes_attention

KNOWN_LAYER_TYPES = {"full_attention", "sliding_attention"}
CHECK_TOKENS, CHECK_STEPS = 21, 3
CHECK_SLOT = Slot(0, 32, 0)
CHECK_ERROR = {
    torch.float32: 1e-3,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}  # relative, of all logits of a row


class WantedTokens(torch.nn.Module):
    """Stands before the output layer and passes only the tokens whose logits are wanted: all cost too much."""

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.head = head
        self.wanted_B: torch.Tensor

    def forward(self, hidden_1ND: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(hidden_1ND[:, self.wanted_B])
        return logits


class Decoder:
    """Runs a transformers causal LM over a cache of `positions` positions and `blocks` prefix blocks.

    Args:
        products: the model's, of its adapters, too.
        select: told before each pass which adapter each of its N tokens wants.

    Raises:
        EngineError: the architecture does not fit, or computes something else here than by its own attention.
    """

    def __init__(
        self,
        model: Any,
        positions: int,
        blocks: int,
        products: StableProducts,
        select: Callable[[Sequence[str | None]], None] | None = None,
    ) -> None:
        self._model = model
        self._select = select
        self._device = next(model.parameters()).device
        config = model.config.get_text_config(decoder=True)
        unknown = set(getattr(config, "layer_types", None) or ()) - KNOWN_LAYER_TYPES
        if unknown or not takes_attention(model):
            raise EngineError(
                f"engine `torch` cannot run {type(model).__name__}: "
                + (
                    f"it has layers of type {', '.join(sorted(unknown))}"
                    if unknown
                    else "its attention is its own"
                )
            )
        self._layers = products
        self._attention = Products(self._device)
        self.cache = KVCache(config.num_hidden_layers, positions, blocks)
        # transformers renames it, one architecture after the other.
        renamed = "cache" in inspect.signature(model.forward).parameters
        self._cache_name = "cache" if renamed else "past_key_values"
        try:
            expected_V = self._own_logits()  # before anything of it is changed
            stabilise_rows(model, products)
            self._head = WantedTokens(model.get_output_embeddings())
            model.set_output_embeddings(self._head)
            self._check(expected_V)
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
            raise EngineError(f"engine `torch` cannot run {type(self._model).__name__}: {error}") from error

    @property
    def yardstick(self) -> str | None:
        """How rows are computed here, for the lineage."""
        return words_of(self._layers.facts(), self._attention.facts())

    @torch.inference_mode()
    def forward(
        self,
        decode: Sequence[tuple[Span, int, str | None]],
        pieces: Sequence[tuple[Span, Sequence[int], str | None]],
        wanted: Sequence[int],
    ) -> torch.Tensor:
        """Compute one pass and return logits, (B, V).

        Args:
            decode: span, token and adapter of running samples, by slot length and slot.
            pieces: span, tokens and adapter of pieces of prompts.
            wanted: numbers, in decode then pieces, of those whose last token's logits are wanted, ascending.
        """
        now = Pass(
            [span for span, _, _ in decode],
            [span for span, _, _ in pieces],
            self.cache.positions,
            self._attention,
        )
        ids = [token for _, token, _ in decode]
        adapters = [adapter for _, _, adapter in decode]
        last = list(range(len(decode))) + [0] * len(pieces)
        for number in now.order:
            _, tokens, adapter = pieces[number]
            ids += tokens
            adapters += [adapter] * len(tokens)
            last[len(decode) + number] = len(ids) - 1
        if self._select is not None:
            self._select([*adapters, *[None] * now.filling])
        return self._run(now, [*ids, *[0] * now.filling], [last[number] for number in wanted])

    @torch.inference_mode()
    def forward_piece(
        self, span: Span, tokens: Sequence[int], adapter: str | None, first: int
    ) -> torch.Tensor:
        """Compute a piece of one text by itself; return the logits after each of its tokens from number `first` on, (N, V)."""
        now = Pass([], [span], self.cache.positions, self._attention)
        if self._select is not None:
            self._select([*[adapter] * len(tokens), *[None] * now.filling])
        return self._run(now, [*tokens, *[0] * now.filling], list(range(first, len(tokens))))

    def _run(self, now: Pass, ids: list[int], last: list[int]) -> torch.Tensor:
        self.cache.now = now
        filled = last + [0] * (round_up(max(len(last), 1), STEP) - len(last))
        self._head.wanted_B = torch.tensor(filled, device=self._device)
        with self._layers.watching():
            logits_1BV: torch.Tensor = self._model(
                input_ids=torch.tensor([ids], device=self._device),
                position_ids=now.position_N[None],
                use_cache=True,
                now=now,
                **{self._cache_name: self.cache},
            ).logits
        return logits_1BV[0, : len(last)]

    @torch.inference_mode()
    def _own_logits(self) -> torch.Tensor:
        """Return what the model as it was loaded makes of a short text, (V,), by its own attention and products."""
        self._model.set_attn_implementation("eager")
        ids = torch.tensor([self._check_ids()], device=self._device)
        logits_V: torch.Tensor = self._model(input_ids=ids, use_cache=False).logits[0, -1]
        self._model.set_attn_implementation(ATTENTION)
        return logits_V

    def _check_ids(self) -> list[int]:
        vocabulary = self._model.config.get_text_config(decoder=True).vocab_size
        return [(7919 * i + 101) % vocabulary for i in range(CHECK_TOKENS + CHECK_STEPS)]

    def _check(self, expected_V: torch.Tensor) -> None:
        """Compare a short text with the model's own logits: an architecture that differs must not pass."""
        ids = self._check_ids()
        got_V = self.forward([], [(Span(CHECK_SLOT, 0, CHECK_TOKENS), ids[:CHECK_TOKENS], None)], [0])[0]
        for position in range(CHECK_TOKENS, len(ids)):
            got_V = self.forward([(Span(CHECK_SLOT, position, position + 1), ids[position], None)], [], [0])[
                0
            ]
        self.cache.clear(CHECK_SLOT)
        distance = float((got_V.float() - expected_V.float()).norm() / expected_V.float().norm())
        if not distance < CHECK_ERROR[got_V.dtype] and bool(expected_V.isfinite().all()):
            raise EngineError(
                f"engine `torch` cannot run {type(self._model).__name__}: its logits differ from those of "
                f"the model's own attention by {distance:.2g} of their size"
            )
