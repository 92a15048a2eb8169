"""Masks, bias, penalties and log-probabilities against a plain implementation, row by row."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch

from raygen.config.sampling import Sampling
from raygen.engines.torch.sample import Choice, Sample
from raygen.engines.torch.sampling import choose_tokens, uniforms
from raygen.engines.torch.stopping import StopRule
from raygen.errors import RowError

VOCABULARY = 300
EOS = 7


class Allow:
    def __init__(self, *ids: int) -> None:
        self.allowed_V = np.zeros(VOCABULARY, bool)
        self.allowed_V[list(ids)] = True

    def __call__(self, prompt: Any, tokens: Any) -> np.ndarray:
        return self.allowed_V


def sample(
    prompt: list[int] | None = None, tokens: list[int] | None = None, mask: Any = None, **settings: Any
) -> Sample:
    sampling = Sampling(**settings)
    rule = StopRule((), {EOS} | set(sampling.stop_token_ids), 100, str, min_tokens=sampling.min_tokens)
    return Sample(prompt or [], sampling, 5, rule, token_mask=mask, tokens=tokens or [])


def plain_choice(logits: list[float], draw: Sample) -> int | str:
    s, scores = draw.sampling, [float(np.float32(x)) for x in logits]
    if draw.token_mask is not None:
        allowed = draw.token_mask(draw.prompt, draw.tokens)
        scores = [x if ok else -math.inf for x, ok in zip(scores, allowed, strict=True)]
    if len(draw.tokens) < s.min_tokens:
        for token in draw.rule.eos_ids:
            scores[token] = -math.inf
    for token, bias in s.logit_bias.items():
        scores[token] += bias
    for token in set(draw.prompt) | set(draw.tokens):
        scores[token] = (
            scores[token] / s.repetition_penalty
            if scores[token] > 0
            else scores[token] * s.repetition_penalty
        )
    for token in set(draw.tokens):
        scores[token] -= s.presence_penalty + s.frequency_penalty * draw.tokens.count(token)
    best = max(scores)
    if best == -math.inf:
        return "mask_forbids_all"
    if s.temperature == 0:
        return scores.index(best)
    weights = {token: math.exp((x - best) / s.temperature) for token, x in enumerate(scores) if x > -math.inf}
    if s.top_k:
        least = sorted(weights.values(), reverse=True)[: s.top_k][-1]
        weights = {token: w for token, w in weights.items() if w >= least * (1 - 1e-6)}
    weights = {token: w for token, w in weights.items() if w >= s.min_p * (1 - 1e-6)}
    if s.top_p < 1:
        wanted, above, kept = sum(weights.values()) * s.top_p, 0.0, {}
        for token, weight in sorted(weights.items(), key=lambda item: -item[1]):
            if above < wanted:
                kept[token] = weight
            above += weight
        weights = dict(sorted(kept.items()))
    target = float(uniforms([draw.seed], [len(draw.tokens)])[0]) * sum(weights.values())
    for token, weight in weights.items():
        target -= weight
        if target < 0:
            return token
    raise AssertionError


def random_sample(chance: random.Random) -> Sample:
    settings: dict[str, Any] = {"temperature": chance.choice([0, 0.5, 1, 2])}
    optional = {
        "top_k": chance.choice([1, 5, 50]),
        "top_p": chance.choice([0.3, 0.9]),
        "min_p": chance.choice([0.05, 0.5, 1.0]),
        "repetition_penalty": chance.choice([0.7, 1.3]),
        "presence_penalty": chance.choice([-1.5, 0.7]),
        "frequency_penalty": chance.choice([-0.5, 0.9]),
        "logit_bias": {chance.randrange(VOCABULARY): chance.choice([-100.0, 3.0, 100.0]) for _ in range(3)},
        "min_tokens": chance.choice([1, 6, 30]),
        "stop_token_ids": [chance.randrange(VOCABULARY)],
    }
    settings |= {name: value for name, value in optional.items() if chance.random() < 0.4}
    mask = Allow(*(chance.randrange(VOCABULARY) for _ in range(20))) if chance.random() < 0.2 else None
    prompt = [chance.randrange(VOCABULARY) for _ in range(chance.randrange(30))]
    tokens = [chance.randrange(40) for _ in range(chance.randrange(20))]
    drawn = sample(prompt, tokens, mask, **settings)
    drawn.seed = chance.randrange(2**53)
    return drawn


def test_choices_are_those_of_a_plain_implementation_in_any_company():
    chance = random.Random(3)
    torch.manual_seed(0)
    different = 0
    for _ in range(60):
        draws = [random_sample(chance) for _ in range(12)]
        logits_BV = (torch.randn(len(draws), VOCABULARY) * 3).to(
            chance.choice([torch.float32, torch.bfloat16])
        )
        found = choose_tokens(logits_BV, draws)
        for row, (draw, choice) in enumerate(zip(draws, found, strict=True)):
            alone = choose_tokens(logits_BV[row : row + 1], [draw])[0]
            if isinstance(choice, RowError):
                assert isinstance(alone, RowError)
                assert choice.code == plain_choice(logits_BV[row].tolist(), draw)
                continue
            assert alone == choice
            # float32 against float64: a draw within rounding of a boundary may fall on its other side
            different += choice.token != plain_choice(logits_BV[row].tolist(), draw)
    assert different <= 1


def test_penalties_change_the_tokens_that_were_seen_and_no_others():
    logits = torch.zeros(1, VOCABULARY)
    logits[0, [10, 11, 12]] = torch.tensor([4.0, 3.9, 3.8])
    for settings, wanted in (
        ({}, 10),
        ({"repetition_penalty": 1.06}, 12),  # 10 is in the prompt, 11 in the output
        ({"presence_penalty": 0.3}, 10),
        ({"presence_penalty": -0.2}, 11),
        ({"frequency_penalty": -0.06}, 11),  # twice
        ({"logit_bias": {12: 0.3}}, 12),
        ({"logit_bias": {10: -100, 11: -100, 12: -100}}, 0),
    ):
        draw = sample([10], [11, 11], temperature=0, **settings)
        assert choose_tokens(logits, [draw])[0].token == wanted, settings


def test_no_end_before_min_tokens():
    logits = torch.zeros(1, VOCABULARY)
    logits[0, [EOS, 20, 30]] = torch.tensor([9.0, 8.0, 7.0])
    early = sample(tokens=[1], temperature=0, min_tokens=2, stop_token_ids=[20])
    assert choose_tokens(logits, [early])[0].token == 30
    assert choose_tokens(logits, [sample(tokens=[1, 1], temperature=0, min_tokens=2)])[0].token == EOS


def broken(prompt: Any, tokens: Any) -> Any:
    raise KeyError("grammar")


@pytest.mark.parametrize(
    ("draw", "code", "words"),
    [
        (sample(logit_bias={VOCABULARY: 1.0}), "invalid_sampling", "0 to 299"),
        (sample(stop_token_ids=[5000]), "invalid_sampling", "stop_token_ids: token 5000"),
        (sample(mask=Allow()), "mask_forbids_all", "token 1"),
        (sample(mask=Allow(EOS), min_tokens=3), "mask_forbids_all", "token 1"),
        (sample(mask=broken), "token_mask_failed", "KeyError"),
        (sample(mask=lambda p, t: np.ones(3, bool)), "token_mask_failed", "(300,)"),
        (sample(mask=lambda p, t: [True] * VOCABULARY), "token_mask_failed", "list"),
    ],
)
def test_what_cannot_be_done_fails_its_row_alone(draw: Sample, code: str, words: str):
    torch.manual_seed(1)
    logits_BV = torch.randn(3, VOCABULARY)
    others = [sample(temperature=1), sample(temperature=0, presence_penalty=1)]
    first, wrong, last = choose_tokens(logits_BV, [others[0], draw, others[1]])
    assert isinstance(wrong, RowError)
    assert wrong.code == code
    assert words in wrong.message
    assert [first, last] == choose_tokens(logits_BV[[0, 2]], others)


def test_logprobs_are_those_of_the_model_whatever_the_settings():
    torch.manual_seed(2)
    logits_BV = torch.randn(2, VOCABULARY)
    logits_BV[:, [40, 30]] = 5.0  # a tie at the top
    exact_BV = torch.log_softmax(logits_BV.double(), -1)
    draws = [sample(temperature=0, logprobs=3, mask=Allow(77)), sample(temperature=2, top_k=1, logprobs=0)]
    masked, drawn = choose_tokens(logits_BV, draws)
    assert isinstance(masked, Choice)
    assert isinstance(drawn, Choice)
    assert masked.token == 77
    assert masked.logprob == pytest.approx(float(exact_BV[0, 77]))
    assert [token for token, _ in masked.top[:2]] == [30, 40]
    assert [logprob for _, logprob in masked.top] == pytest.approx(exact_BV[0].topk(3).values.tolist())
    assert drawn.logprob == pytest.approx(float(exact_BV[1, drawn.token]))
    assert drawn.top == []
