"""Sampling: from logits to token ids. What a row gets depends on its own logits, settings, tokens and seed alone.

In this order, as transformers and vLLM have it:
- log-probabilities are those of the model's own logits (token_logprobs);
- token mask, min_tokens, logit bias and penalties change logits (adjust.py);
- temperature divides them; 0 means the most probable token, the lowest id of equals;
- top_k keeps the tokens whose logit is at least the k-th largest;
- min_p keeps those at least so probable, as a part of the most probable one;
- top_p then keeps a token if all strictly more probable ones have less than `top_p` of what is left.
The candidates of a row are so defined without an order, and ties, frequent in bfloat16, need no rule. One is drawn
by inverting the candidates' cumulative probability, in the order of ids, at a uniform number: a hash of the sample's
seed and the token's index. No generator, hence no state to restore.
"""

# Shape letters: B = rows, V = vocabulary, C = candidates looked at for top_p.

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from raygen.engines.torch.adjust import adjust, needs_adjusting
from raygen.engines.torch.sample import Choice, Draw
from raygen.errors import RowError

BLOCK = 256  # arg-max and cumulative sums go over blocks first: several times faster over a long vocabulary
# top_p looks at so many most probable tokens, and sorts the vocabulary only if they do not suffice
NUCLEUS = 512


def uniforms(seeds: Sequence[int], indices: Sequence[int]) -> np.ndarray:
    """Return float64 numbers in [0, 1), shape (B,): a hash of each (seed, token index) pair.

    Source:
        The mixing function is SplitMix64's: Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195.
    """
    state = _mix(np.asarray(seeds, dtype=np.uint64)) + np.asarray(indices, dtype=np.uint64)
    return (_mix(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(state: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # arithmetic is modulo 2**64
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(state ^ (state >> np.uint64(31)))


def choose_tokens(logits_BV: torch.Tensor, draws: Sequence[Draw]) -> list[Choice | RowError]:
    """Return each row's next token, or the error that ends this row alone.

    Args:
        logits_BV: any floating dtype; -inf forbids a token.
        draws: the rows' samples.

    Errors are `nan_logits` (NaN, +inf, or all -inf), `mask_forbids_all`, `token_mask_failed` and `invalid_sampling`.
    """
    vocabulary = logits_BV.shape[1]
    best_B, token_B = _largest(_in_blocks(logits_BV))
    best_B = best_B.float()
    sound = torch.isfinite(best_B).tolist()
    errors: dict[int, RowError] = {
        i: RowError("nan_logits", f"the model gave no numbers at token {len(draw.tokens) + 1}")
        for i, draw in enumerate(draws)
        if not sound[i]
    }
    wanted = [i for i, draw in enumerate(draws) if draw.sampling.logprobs is not None and sound[i]]
    raw_BV = logits_BV[wanted].float() if wanted else None
    changed = [i for i, draw in enumerate(draws) if sound[i] and needs_adjusting(draw)]
    # Only rows that are changed or drawn from are copied: clearing the memory for all took as long as a layer.
    copied = sorted(
        {*changed, *(i for i, draw in enumerate(draws) if sound[i] and draw.sampling.temperature > 0)}
    )
    place = {i: row for row, i in enumerate(copied)}
    if copied:
        filled_BV = _in_blocks(logits_BV[copied].float())
    for i in changed:
        try:
            adjust(filled_BV[place[i], :vocabulary], draws[i])
        except RowError as error:
            errors[i] = error
            filled_BV[place[i]] = 0
    if changed:
        best_B[changed], token_B[changed] = _largest(filled_BV[[place[i] for i in changed]])
        for i in changed:
            if i not in errors and best_B[i] == float("-inf"):
                errors[i] = RowError(
                    "mask_forbids_all", f"no token is allowed at token {len(draws[i].tokens) + 1}"
                )
    tokens: list[int] = token_B.tolist()
    drawn = [i for i, draw in enumerate(draws) if i not in errors and draw.sampling.temperature > 0]
    if drawn:
        settings = [draws[i].sampling for i in drawn]
        # The maximum becomes 0, however small the temperature.
        scaled_BV = filled_BV if drawn == copied else filled_BV[[place[i] for i in drawn]]
        scaled_BV.sub_(best_B[drawn, None])
        scaled_BV.div_(_column([each.temperature for each in settings], scaled_BV))
        _keep_top_k(scaled_BV, [each.top_k for each in settings])
        _keep_min_p(scaled_BV, [each.min_p for each in settings])
        probabilities_BV = torch.softmax(scaled_BV, -1)
        _keep_top_p(probabilities_BV, [each.top_p for each in settings])
        uniform_B = uniforms([draws[i].seed for i in drawn], [len(draws[i].tokens) for i in drawn])
        for i, token in zip(drawn, _invert(probabilities_BV, uniform_B), strict=True):
            tokens[i] = token
    found: list[Choice | RowError] = [
        errors[i] if i in errors else Choice(token) for i, token in enumerate(tokens)
    ]
    for row, i in enumerate(wanted):
        choice = found[i]
        if isinstance(choice, Choice) and raw_BV is not None:
            choice.logprob, choice.top = token_logprobs(
                raw_BV[row], choice.token, draws[i].sampling.logprobs or 0
            )
    return found


def token_logprobs(logits_V: torch.Tensor, token: int, top: int) -> tuple[float, list[tuple[int, float]]]:
    """Return the natural log-probability of a token, and of the `top` most probable ones with their ids.

    Args:
        logits_V: one row, float32 (V,), with a finite maximum. Sums are float64, over this row alone.
    """
    exact_V = logits_V.double()
    total = torch.logsumexp(exact_V, 0)
    best: list[tuple[int, float]] = []
    if top:
        least = exact_V.topk(min(top, len(exact_V))).values[-1]
        ids = (
            (exact_V >= least).nonzero()[:, 0].tolist()
        )  # with all equals of the last: the lower ids are taken
        ids.sort(key=lambda i: (-float(exact_V[i]), i))
        best = [(i, float(exact_V[i] - total)) for i in ids[:top]]
    return float(exact_V[token] - total), best


def _column(values: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]


def _in_blocks(logits_BV: torch.Tensor) -> torch.Tensor:
    """Return (B, V) with V filled up to a multiple of BLOCK."""
    missing = -logits_BV.shape[1] % BLOCK
    return torch.nn.functional.pad(logits_BV, (0, missing), value=float("-inf")) if missing else logits_BV


def _largest(filled_BV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the maximum of each row and its lowest index, shape (B,) each; NaN wins."""
    blocks_BNC = filled_BV.view(len(filled_BV), -1, BLOCK)
    peaks_BN = blocks_BNC.amax(-1)
    block_B = peaks_BN.argmax(-1)
    row_B = torch.arange(len(filled_BV), device=filled_BV.device)
    within_B = blocks_BNC[row_B, block_B].argmax(-1)
    return peaks_BN[row_B, block_B], block_B * BLOCK + within_B


def _keep_top_k(scaled_BV: torch.Tensor, top_k: Sequence[int]) -> None:
    """Set to -inf what is below the k-th largest of its row; k = 0 keeps all."""
    limited = [i for i, k in enumerate(top_k) if 0 < k < scaled_BV.shape[1]]
    if limited:
        largest_BC = scaled_BV[limited].topk(max(top_k[i] for i in limited), -1).values
        kth_B = torch.tensor([top_k[i] - 1 for i in limited], device=scaled_BV.device)
        least_B1 = largest_BC.gather(1, kth_B[:, None])
        scaled_BV[limited] = scaled_BV[limited].masked_fill_(scaled_BV[limited] < least_B1, float("-inf"))


def _keep_min_p(scaled_BV: torch.Tensor, min_p: Sequence[float]) -> None:
    """Set to -inf what is less probable than min_p times the most probable, whose scaled logit is 0."""
    limited = [i for i, p in enumerate(min_p) if p > 0]
    if limited:
        least_B1 = _column([math.log(min_p[i]) for i in limited], scaled_BV)
        scaled_BV[limited] = scaled_BV[limited].masked_fill_(scaled_BV[limited] < least_B1, float("-inf"))


def _keep_top_p(probabilities_BV: torch.Tensor, top_p: Sequence[float]) -> None:
    """Zero what lies outside the nucleus of its row; p = 1 keeps all."""
    limited = [i for i, p in enumerate(top_p) if p < 1]
    candidates = min(NUCLEUS, probabilities_BV.shape[1])
    while limited:
        part_BV = probabilities_BV[limited]
        sorted_BC = part_BV.topk(candidates, -1).values.double()
        total_B1 = _cumulative_blocks(part_BV)[:, -1:]
        wanted_B1 = total_B1 * _column([top_p[i] for i in limited], total_B1)
        before_BC = sorted_BC.cumsum(-1) - sorted_BC
        inside_BC = before_BC < wanted_B1
        enough = (~inside_BC[:, -1]).tolist()
        if candidates == probabilities_BV.shape[1]:
            enough = [True] * len(limited)
        least_B1 = sorted_BC.masked_fill(~inside_BC, float("inf")).amin(-1, keepdim=True)
        kept_BV = part_BV.masked_fill(part_BV < least_B1, 0.0)
        done = [i for i, fits in enumerate(enough) if fits]
        probabilities_BV[[limited[i] for i in done]] = kept_BV[done]
        limited = [limited[i] for i, fits in enumerate(enough) if not fits]
        candidates = probabilities_BV.shape[1]


def _cumulative_blocks(probabilities_BV: torch.Tensor) -> torch.Tensor:
    """Return the sum of all blocks up to each, float64 (B, V / BLOCK).

    Not `sum(-1)` of whole rows: torch cuts a sum into parts, a thread each, when there is only one row.
    """
    return probabilities_BV.view(len(probabilities_BV), -1, BLOCK).sum(-1, dtype=torch.float64).cumsum(-1)


def _invert(probabilities_BV: torch.Tensor, uniform_B: np.ndarray) -> list[int]:
    """Return each row's first token at which the cumulative probability exceeds its uniform number."""
    upto_BN = _cumulative_blocks(probabilities_BV)
    total_B = upto_BN[:, -1]
    target_B = torch.from_numpy(uniform_B).to(total_B.device) * total_B
    target_B = torch.minimum(
        target_B, torch.nextafter(total_B, torch.zeros_like(total_B))
    )  # the product may round up
    block_B = (upto_BN <= target_B[:, None]).sum(-1)
    row_B = torch.arange(len(block_B), device=block_B.device)
    before_B = torch.where(block_B > 0, upto_BN[row_B, block_B - 1], 0.0)
    inside_BC = probabilities_BV.view(len(block_B), -1, BLOCK)[row_B, block_B].double()
    within_B = (inside_BC.cumsum(-1) <= (target_B - before_B)[:, None]).sum(-1)
    # Rounding may leave the target at or past the block's own sum: then it is its last possible token.
    last_B = BLOCK - 1 - (inside_BC > 0).flip(-1).int().argmax(-1)
    tokens: list[int] = (block_B * BLOCK + torch.minimum(within_B, last_B)).tolist()
    return tokens
