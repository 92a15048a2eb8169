"""Adjustments: what a row's settings change about its logits before a token is chosen: mask, bias, penalties."""

# Shape letters: V = vocabulary.

from __future__ import annotations

import numpy as np
import torch

from raygen.engines.torch.sample import Draw
from raygen.errors import RowError

FORBIDDEN = float("-inf")


def needs_adjusting(draw: Draw) -> bool:
    """Return whether the settings of a draw change logits before a token is chosen."""
    s = draw.sampling
    return (
        draw.token_mask is not None
        or len(draw.tokens) < s.min_tokens
        or bool(s.logit_bias)
        or s.repetition_penalty != 1
        or s.presence_penalty != 0
        or s.frequency_penalty != 0
        or (not draw.tokens and bool(s.stop_token_ids))
    )


def adjust(logits_V: torch.Tensor, draw: Draw) -> None:
    """Change one row's logits, float32 (V,), in place: mask, min_tokens, bias, then penalties.

    The repetition penalty divides positive and multiplies negative logits of tokens in prompt or output; presence and
    frequency penalties are subtracted from those of tokens in the output, once and for each time.

    Raises:
        RowError: `invalid_sampling`, a token id outside the vocabulary; `token_mask_failed`; what the mask raises.

    Source:
        Repetition: Keskar et al. 2019, arXiv:1909.05858. Presence and frequency: the OpenAI API reference.
    """
    sampling, vocabulary = draw.sampling, len(logits_V)
    if not draw.tokens:
        _check_ids(draw, vocabulary)
    if draw.token_mask is not None:
        _mask(logits_V, draw)
    if len(draw.tokens) < sampling.min_tokens:
        ends = [token for token in draw.rule.eos_ids if token < vocabulary]
        logits_V[ends] = FORBIDDEN
    if sampling.logit_bias:
        ids = torch.tensor(list(sampling.logit_bias), device=logits_V.device)
        logits_V[ids] += logits_V.new_tensor(list(sampling.logit_bias.values()))
    if sampling.repetition_penalty != 1:
        seen = torch.from_numpy(np.unique(np.array([*draw.prompt, *draw.tokens], np.int64))).to(
            logits_V.device
        )
        given = logits_V[seen]
        penalty = sampling.repetition_penalty
        logits_V[seen] = torch.where(given > 0, given / penalty, given * penalty)
    if draw.tokens and (sampling.presence_penalty or sampling.frequency_penalty):
        ids_, counts = np.unique(draw.tokens, return_counts=True)
        less = sampling.presence_penalty + sampling.frequency_penalty * counts
        index = torch.from_numpy(ids_).to(logits_V.device)
        logits_V[index] -= torch.from_numpy(less.astype(np.float32)).to(logits_V.device)


def _check_ids(draw: Draw, vocabulary: int) -> None:
    for name, ids in (
        ("logit_bias", draw.sampling.logit_bias),
        ("stop_token_ids", draw.sampling.stop_token_ids),
    ):
        wrong = [token for token in ids if token >= vocabulary]
        if wrong:
            raise RowError(
                "invalid_sampling", f"{name}: token {wrong[0]}; the model's tokens are 0 to {vocabulary - 1}"
            )


def _mask(logits_V: torch.Tensor, draw: Draw) -> None:
    assert draw.token_mask is not None
    try:
        allowed_V = draw.token_mask(draw.prompt, draw.tokens)
    except RowError:
        raise
    except Exception as error:  # the caller's own code
        raise RowError(
            "token_mask_failed", f"the token mask raised {type(error).__name__}: {error}"
        ) from error
    if allowed_V is None:
        return
    if not isinstance(allowed_V, np.ndarray) or allowed_V.dtype != bool or allowed_V.shape != logits_V.shape:
        shape = getattr(allowed_V, "shape", None)
        raise RowError(
            "token_mask_failed",
            f"the token mask gave {type(allowed_V).__name__} {shape}; wanted: a bool array ({len(logits_V)},)",
        )
    logits_V.masked_fill_(torch.from_numpy(~allowed_V).to(logits_V.device), FORBIDDEN)
