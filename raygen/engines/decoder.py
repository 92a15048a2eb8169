"""SlotDecoder: a causal LM over slots. Tokens in, logits out; knows neither requests nor sampling."""

# Shape letters: B = rows, T = tokens, D = model width, V = vocabulary.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from raygen.engines.slots import ATTENTION, LENGTH_STEP, ROW_STEP, SlotCache, Span, round_up
from raygen.errors import EngineError

PREFILL_TOKENS = 8192  # of one forward pass, unless a single prompt is longer: bounds its memory
KNOWN_LAYER_TYPES = {"full_attention", "sliding_attention"}
CHECK_TOKENS, CHECK_STEPS = 21, 3
CHECK_ERROR = {
    torch.float32: 1e-3,
    torch.float16: 2e-2,
    torch.bfloat16: 1e-1,
}  # relative, of all logits of a row


class LastToken(torch.nn.Module):
    """Stands before the output layer and passes only each row's last token: logits for all cost too much."""

    def __init__(self, head: torch.nn.Module) -> None:
        super().__init__()
        self.head = head
        self.last_B: torch.Tensor

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(self.last_B), device=hidden_BTD.device)
        last_BD = hidden_BTD[rows, self.last_B]
        spare = round_up(len(rows), ROW_STEP) - len(rows)
        last_BD = torch.nn.functional.pad(last_BD, (0, 0, 0, spare))
        logits: torch.Tensor = self.head(last_BD)[: len(rows), None]
        return logits


class SlotDecoder:
    """Runs a transformers causal LM with a key/value cache of `slots` slots.

    Raises:
        EngineError: the architecture does not fit, or computes something else here than by its own attention.
    """

    def __init__(self, model: Any, slots: int) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        config = model.config.get_text_config(decoder=True)
        unknown = set(getattr(config, "layer_types", None) or ()) - KNOWN_LAYER_TYPES
        if unknown or not model._supports_attention_backend:
            raise EngineError(
                f"engine `torch` cannot run {type(model).__name__}: "
                + (
                    f"it has layers of type {', '.join(sorted(unknown))}"
                    if unknown
                    else "its attention is its own"
                )
            )
        self._head = LastToken(model.get_output_embeddings())
        model.set_output_embeddings(self._head)
        self._cache = SlotCache(config.num_hidden_layers, slots, self._device)
        self._check()

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[Sequence[int]], slots: Sequence[Sequence[int]]) -> torch.Tensor:
        """Fill the slots of each prompt and return the logits of its next token, (B, V).

        A prompt's pass is padded to its own length's step, whatever else is in the batch.
        """
        logits: list[torch.Tensor | None] = [None] * len(prompts)
        lengths = [round_up(len(prompt), LENGTH_STEP) for prompt in prompts]
        for tokens in sorted(set(lengths)):
            alike = [i for i, length in enumerate(lengths) if length == tokens]
            step = max(1, PREFILL_TOKENS // tokens)
            for group in (alike[i : i + step] for i in range(0, len(alike), step)):
                group_BV = self._prefill_alike([prompts[i] for i in group], [slots[i] for i in group], tokens)
                for i, logits_V in zip(group, group_BV, strict=True):
                    logits[i] = logits_V
        return torch.stack([row for row in logits if row is not None])

    def _prefill_alike(
        self, prompts: Sequence[Sequence[int]], slots: Sequence[Sequence[int]], tokens: int
    ) -> torch.Tensor:
        # Padding stands after the prompt, where it is not seen; its last token, lest an odd one brings NaN.
        padded = [[*prompt, *[prompt[-1]] * (tokens - len(prompt))] for prompt in prompts]
        rows = [row for row, wanted in enumerate(slots) for _ in wanted]
        self._cache.write_prompts(rows, [slot for wanted in slots for slot in wanted], tokens)
        positions_BT = torch.arange(tokens, device=self._device).expand(len(prompts), -1)
        return self._forward(padded, positions_BT, [len(prompt) - 1 for prompt in prompts], tokens)

    @torch.inference_mode()
    def decode(self, tokens: Sequence[int], positions: Sequence[int]) -> torch.Tensor:
        """Append tokens[i] at positions[i] of slot i and return the logits of the next ones, (B, V).

        Row i is slot i, so rows are packed: `move` fills the gaps. Rows are added up to ROW_STEP; what they
        write, at position 0 of unused slots, is never read.
        """
        rows = len(tokens)
        spare = [0] * (round_up(rows, ROW_STEP) - rows)
        self._cache.write_tokens([*positions, *spare])
        positions_BT = self._cache.positions[:, None]
        logits_BV = self._forward([[t] for t in [*tokens, *spare]], positions_BT, [0] * len(positions_BT))
        return logits_BV[:rows]

    def _forward(
        self, ids: list[list[int]], positions_BT: torch.Tensor, last: list[int], keys: int | None = None
    ) -> torch.Tensor:
        self._head.last_B = torch.tensor(last, device=self._device)
        logits_BTV: torch.Tensor = self._model(
            input_ids=torch.tensor(ids, device=self._device),
            position_ids=positions_BT,
            past_key_values=self._cache,
            use_cache=True,
            span=Span(positions_BT, keys or self._cache.attended),
        ).logits
        return logits_BTV[:, -1]

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` positions of one slot to another."""
        with torch.inference_mode():
            self._cache.move(source, target, tokens)

    def clear(self, slot: int) -> None:
        """Forget a slot whose numbers are broken."""
        with torch.inference_mode():
            self._cache.clear(slot)

    @torch.inference_mode()
    def _check(self) -> None:
        """Compare a short text with the model's own attention: an architecture that differs must not pass."""
        vocabulary = self._model.config.get_text_config(decoder=True).vocab_size
        ids = [(7919 * i + 101) % vocabulary for i in range(CHECK_TOKENS + CHECK_STEPS)]
        try:
            self._model.set_attn_implementation("eager")
            self._head.last_B = torch.tensor([len(ids) - 1], device=self._device)
            expected_V = self._model(
                input_ids=torch.tensor([ids], device=self._device), use_cache=False
            ).logits[0, -1]
            self._model.set_attn_implementation(ATTENTION)
            got_V = self.prefill([ids[:CHECK_TOKENS]], [[0]])[0]
            for position in range(CHECK_TOKENS, len(ids)):
                got_V = self.decode([ids[position]], [position])[0]
            self.clear(0)
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
            raise EngineError(f"engine `torch` cannot run {type(self._model).__name__}: {error}") from error
        distance = float((got_V.float() - expected_V.float()).norm() / expected_V.float().norm())
        if not distance < CHECK_ERROR[got_V.dtype] and bool(expected_V.isfinite().all()):
            raise EngineError(
                f"engine `torch` cannot run {type(self._model).__name__}: its logits differ from those of "
                f"the model's own attention by {distance:.2g} of their size"
            )
