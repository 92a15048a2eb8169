"""Log-probabilities of tokens, as the model gave them."""

# Shape letters: V = vocabulary.

from __future__ import annotations

import torch


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
