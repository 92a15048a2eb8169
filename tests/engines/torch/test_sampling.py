"""The sampler against a plain one: one row at a time, sorted lists and Python integers."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from raygen.config.sampling import Sampling
from raygen.engines.torch import sampling as module
from raygen.engines.torch.sample import Choice, Sample
from raygen.engines.torch.sampling import NUCLEUS, _invert, uniforms
from raygen.engines.torch.stopping import StopRule

MASK = 2**64 - 1
ENDS = StopRule((), (), 10**6, str)


def choose_tokens(
    logits_BV: torch.Tensor, settings: list[Sampling], seeds: list[int], indices: list[int]
) -> list[int | None]:
    """The tokens; None where the row's logits were refused."""
    draws = [
        Sample([], each, seed, ENDS, tokens=[0] * index)
        for each, seed, index in zip(settings, seeds, indices, strict=True)
    ]
    found = module.choose_tokens(logits_BV, draws)
    return [choice.token if isinstance(choice, Choice) else None for choice in found]


def split_mix(state: int) -> int:
    state = (state + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def plain_uniform(seed: int, index: int) -> float:
    return (split_mix((split_mix(seed) + index) & MASK) >> 11) / 2**53


def plain_choice(logits_V: torch.Tensor, settings: Sampling, seed: int, index: int) -> int:
    logits = logits_V.float().tolist()
    best = max(logits)
    if settings.temperature == 0:
        return logits.index(best)
    scaled_V = (logits_V.float() - best) / settings.temperature
    if settings.top_k:
        least = sorted(scaled_V.tolist(), reverse=True)[: settings.top_k][-1]
        scaled_V = torch.where(scaled_V >= least, scaled_V, -math.inf)
    weights = torch.softmax(scaled_V, -1).double().tolist()
    if settings.top_p < 1:
        wanted, above, kept = sum(weights) * settings.top_p, 0.0, set()
        for weight, times in sorted(Counter(weights).items(), reverse=True):
            if above < wanted:
                kept.add(weight)
            above += weight * times
        weights = [weight if weight in kept else 0.0 for weight in weights]
    target, reached = plain_uniform(seed, index) * sum(weights), 0.0
    for token, weight in enumerate(weights):
        reached += weight
        if reached > target:
            return token
    raise AssertionError("a uniform number is less than 1")


SETTINGS = [
    Sampling(temperature=0),
    Sampling(temperature=1),
    Sampling(temperature=0.3),
    Sampling(temperature=1e-30),
    Sampling(temperature=100, top_p=0.999),
    Sampling(temperature=1, top_k=1),
    Sampling(temperature=1, top_k=40),
    Sampling(temperature=1, top_k=5000),
    Sampling(temperature=1, top_p=0.9),
    Sampling(temperature=0.7, top_p=1e-9),
    Sampling(temperature=1.3, top_k=20, top_p=0.5),
]


@pytest.mark.parametrize("vocabulary", [7, 256, 1500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_the_plain_sampler(vocabulary: int, dtype: torch.dtype):
    generator = torch.Generator().manual_seed(vocabulary)
    logits_BV = (torch.randn(33, vocabulary, generator=generator) * 3).to(dtype)  # bfloat16 has many ties
    logits_BV[::5, 1:4] = -math.inf
    settings = [SETTINGS[i % len(SETTINGS)] for i in range(33)]
    seeds = [i * 0x1FFFFFFFFFF % 2**53 for i in range(33)]
    indices = [i * i for i in range(33)]
    expected = [plain_choice(*row) for row in zip(logits_BV, settings, seeds, indices, strict=True)]
    assert choose_tokens(logits_BV, settings, seeds, indices) == expected
    alone = [choose_tokens(logits_BV[i, None], [settings[i]], [seeds[i]], [indices[i]])[0] for i in range(33)]
    assert alone == expected


def test_a_nucleus_larger_than_the_candidates_looked_at_first():
    logits_BV = torch.linspace(0, 1, 4 * NUCLEUS).expand(6, -1)
    settings = [Sampling(temperature=1, top_p=p) for p in (0.9, 0.99, 0.02, 0.5, 0.999, 0.7)]
    expected = [plain_choice(logits_BV[i], settings[i], 11 + i, 3) for i in range(6)]
    assert choose_tokens(logits_BV, settings, list(range(11, 17)), [3] * 6) == expected


def test_tokens_tied_with_the_last_candidate_stay():
    logits_BV = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]])
    for settings in (Sampling(temperature=1, top_k=2), Sampling(temperature=1, top_p=0.6)):
        drawn = {choose_tokens(logits_BV, [settings], [seed], [0])[0] for seed in range(300)}
        assert drawn == {0, 1, 2, 3}


def test_frequencies_follow_the_probabilities():
    rows = 20_000
    weights = [0.5, 0.25, 0.125, 0.1, 0.025]
    logits_BV = torch.log(torch.tensor(weights)).expand(rows, -1)
    counts = Counter(
        choose_tokens(logits_BV, [Sampling(temperature=1)] * rows, list(range(rows)), [0] * rows)
    )
    for token, weight in enumerate(weights):
        assert abs(counts[token] - rows * weight) < 4 * math.sqrt(rows * weight * (1 - weight))


@pytest.mark.parametrize("vary", ["seed", "index"])
def test_uniform_numbers_are_uniform_and_unrelated_to_their_neighbours(vary: str):
    count, cells = 64_000, 64
    run, still = list(range(count)), [7] * count
    values = uniforms(run, still) if vary == "seed" else uniforms(still, run)
    for sequence in (values, (values[1:] - values[:-1]) % 1):
        observed = np.bincount((sequence * cells).astype(int), minlength=cells)
        chi_squared = float(((observed - len(sequence) / cells) ** 2 / (len(sequence) / cells)).sum())
        assert 30 < chi_squared < 110  # 63 degrees of freedom: 1 in 10,000 lies outside


def test_uniform_numbers_are_hashes_by_the_published_function():
    assert [split_mix(0), split_mix(0x9E3779B97F4A7C15)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
    assert uniforms([0, 2**53 - 1], [0, 5]).tolist() == [plain_uniform(0, 0), plain_uniform(2**53 - 1, 5)]


def test_the_ends_of_the_uniform_numbers_fall_on_possible_tokens():
    probabilities_BV = torch.zeros(2, 1024)
    probabilities_BV[:, 300:700] = 0.1 / 3  # a sum that is not exact
    assert _invert(probabilities_BV, np.array([0.0, 1 - 2.0**-53])) == [300, 699]


def test_a_row_without_numbers_has_no_token_and_its_neighbours_have_theirs():
    logits_BV = torch.randn(5, 300)
    settings = [Sampling(temperature=t) for t in (0, 1, 1, 0, 1)]
    sound = choose_tokens(logits_BV, settings, [1, 2, 3, 4, 5], [0] * 5)
    logits_BV[0, 299] = math.nan
    logits_BV[1, 3] = math.inf
    logits_BV[2] = -math.inf
    assert choose_tokens(logits_BV, settings, [1, 2, 3, 4, 5], [0] * 5) == [
        None,
        None,
        None,
        sound[3],
        sound[4],
    ]


def test_logprobs_are_of_the_row_that_asks_for_them():
    logits_BV = torch.randn(3, 700, generator=torch.Generator().manual_seed(3)).bfloat16()
    settings = [Sampling(temperature=1.0), Sampling(temperature=0.0), Sampling(temperature=0.0, logprobs=2)]
    draws = [Sample([], each, 5, ENDS, tokens=[]) for each in settings]
    first, second, asking = module.choose_tokens(logits_BV, draws)
    logprobs_V = torch.log_softmax(logits_BV[2].double(), -1)
    assert (first.logprob, second.logprob) == (None, None)
    assert asking.logprob == pytest.approx(float(logprobs_V.max()), abs=1e-5)
    assert [token for token, _ in asking.top] == logprobs_V.topk(2).indices.tolist()
