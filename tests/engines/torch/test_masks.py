"""Constrained output on tiny models: every text is of its constraint, and no neighbour notices."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from jsonschema import Draft202012Validator

from raygen.config.constraint import Constraint
from raygen.config.sampling import Sampling
from raygen.engines.requests import GenerateRequest
from raygen.engines.torch.attention.over_slots import ATTENTION
from raygen.engines.torch.engine import TorchEngine
from raygen.engines.torch.masks import COMPILED, Constraints
from raygen.engines.torch.memory.arena import least
from raygen.engines.torch.sample import Sample
from raygen.engines.torch.scheduler import Scheduler
from raygen.engines.torch.stopping import StopRule
from raygen.errors import EngineConfigError, RowError
from raygen.models.text.chat_tokenizer import ChatTokenizer
from raygen.steps.tools.constrained import KeepsTo
from tests.engines.torch.test_engine import answer, ask, engine_of, mixed_requests
from tests.engines.torch.test_runner import Bench
from tests.fakes.running import with_engine
from tests.fakes.tiny_llama import save_tiny, tiny_model, tiny_tokenizer
from tests.fakes.tiny_sentencepiece import save_sentencepiece, sentencepiece_tokenizer

EOS = 1
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "count": {"type": "integer", "minimum": -20, "maximum": 300},
        "kind": {"enum": ["the", "an", 3, None]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "maxItems": 2},
    },
    "required": ["name", "count", "kind", "tags"],
    "additionalProperties": False,
}
CONSTRAINTS = {
    "choice": Constraint(choice=("yes", " yes", "yes, in the end", "no/é😀")),
    "regex": Constraint(regex=r" ?[a-eé]{1,4}(the|xy)? \d{2}"),
    "json_schema": Constraint(json_schema=SCHEMA),
    "grammar": Constraint(grammar='start: sum\nsum: NUMBER | sum " + " NUMBER\nNUMBER: /[1-9][0-9]?/'),
}


def keeps(kind: str, text: str) -> bool:
    if kind == "choice":
        return text in CONSTRAINTS[kind].value
    if kind == "regex":
        return re.fullmatch(CONSTRAINTS[kind].value, text) is not None
    if kind == "grammar":
        return re.fullmatch(r"[1-9][0-9]?( \+ [1-9][0-9]?)*", text) is not None
    return Draft202012Validator(SCHEMA).is_valid(orjson.loads(text))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny"))


def constraints_of(tokenizer: Any, more: int = 0) -> Constraints:
    return Constraints(ChatTokenizer(tokenizer, frozenset({EOS}), 100), len(tokenizer) + more, "tiny")


def tokenizer_of(kind: str) -> Any:
    return tiny_tokenizer() if kind == "byte-level" else sentencepiece_tokenizer(kind)


def constrained(
    constraint: Constraint, row: int = 0, seeds: Sequence[int] = (1,), **settings: Any
) -> GenerateRequest:
    request = ask(row, f"text {row}", Sampling(**{"temperature": 1, "max_tokens": 80, **settings}), seeds)
    request.constraint = constraint
    return request


def masks_of(constraints: Constraints, constraint: Constraint, samples: int = 1) -> list[Any]:
    return constraints.masks(constrained(constraint, seeds=range(samples)))


def walk(mask: Any, chance: random.Random, most: int = 200) -> tuple[list[int], list[np.ndarray]]:
    """Take any token that is allowed, to the end."""
    tokens: list[int] = []
    allowed: list[np.ndarray] = []
    while len(tokens) < most:
        allowed.append(mask([], tokens))
        token = int(chance.choice(np.flatnonzero(allowed[-1])))
        if token == EOS:
            return tokens, allowed
        tokens.append(token)
    raise AssertionError("no end")


@pytest.mark.parametrize("kind", CONSTRAINTS)
@pytest.mark.parametrize("tokenizer", ["byte-level", "llama", "gemma"])
def test_whatever_is_drawn_the_text_keeps_to_its_constraint(tokenizer: str, kind: str) -> None:
    constraints = constraints_of(tokenizer_of(tokenizer), more=3)
    texts = set()
    for number in range(25):
        [mask] = masks_of(constraints, CONSTRAINTS[kind])
        tokens, _ = walk(mask, random.Random(number))
        texts.add(constraints.decode(tokens))
    assert all(keeps(kind, text) for text in texts), texts
    assert len(texts) >= (3 if kind == "choice" else 8)


def test_a_mask_depends_on_the_tokens_alone() -> None:
    constraints = constraints_of(tiny_tokenizer())
    chance = random.Random(2)
    for kind in ("json_schema", "regex"):
        mask, other, third = masks_of(constraints, CONSTRAINTS[kind], 3)
        tokens, allowed = walk(mask, chance)
        walk(other, chance)  # the same mask behind other tokens first
        for place in [*chance.sample(range(len(tokens)), 4), len(tokens), 0]:
            for each in (other, third):
                assert np.array_equal(each([5], tokens[:place]), allowed[place])
        grown: list[int] = []
        for place, token in enumerate(tokens):  # one list that grows, as an engine's does
            assert np.array_equal(third([], grown), allowed[place])
            grown.append(token)
        del grown[3:]
        assert np.array_equal(third([], grown), allowed[3])


def test_a_mask_behind_other_tokens_of_the_same_number_is_another() -> None:
    tokenizer = tiny_tokenizer()
    [mask] = masks_of(constraints_of(tokenizer), Constraint(regex="a[bz]?1|b[bz]2"))
    a, b, one, two = (tokenizer.convert_tokens_to_ids(letter) for letter in "ab12")
    assert mask([], [a])[one]
    assert set(np.flatnonzero(mask([], [b, b]))) == {two}
    assert set(np.flatnonzero(mask([], [a, b]))) == {one}


def test_only_a_complete_text_may_end_and_then_nothing_else_is_allowed() -> None:
    tokenizer = tiny_tokenizer()
    [mask] = masks_of(constraints_of(tokenizer), Constraint(choice=("in", "inn", "x")))
    ids = {text: tokenizer.convert_tokens_to_ids(text) for text in ("i", "n", "in", "x")}
    assert set(np.flatnonzero(mask([], []))) == {ids["i"], ids["in"], ids["x"]}
    assert set(np.flatnonzero(mask([], [ids["i"]]))) == {ids["n"]}
    assert set(np.flatnonzero(mask([], [ids["in"]]))) == {ids["n"], EOS}
    assert set(np.flatnonzero(mask([], [ids["in"], ids["n"]]))) == {EOS}


def test_every_token_that_ends_a_text_may_end_this_one() -> None:
    tokenizer = tiny_tokenizer()
    chat = ChatTokenizer(tokenizer, frozenset({EOS, 3, 10**6}), 100)
    [mask] = masks_of(Constraints(chat, len(tokenizer), "tiny"), Constraint(choice=("i",)))
    assert set(np.flatnonzero(mask([], [tokenizer.convert_tokens_to_ids("i")]))) == {EOS, 3}


@pytest.mark.parametrize("model", ["byte-level", "llama"])
def test_constrained_rows_keep_to_it_and_change_no_neighbour(
    folder: Path, tmp_path: Path, model: str
) -> None:
    path = folder if model == "byte-level" else save_sentencepiece(tmp_path, model, more=5)
    free = mixed_requests(8)
    bound = [
        constrained(CONSTRAINTS[kind], 100 + number, [number, number + 50])
        for number, kind in enumerate([*CONSTRAINTS] * 2)
    ]
    alone = answer(engine_of(path), *free)
    mixed = random.Random(3).sample([*free, *bound], len(free) + len(bound))
    found = dict(zip([r.row_id for r in mixed], answer(engine_of(path, max_batch=7), *mixed), strict=True))
    assert [found[request.row_id] for request in free] == alone
    one_by_one = answer(engine_of(path, max_batch=1), *bound)
    assert [found[request.row_id] for request in bound] == one_by_one
    ended = 0
    for request, result in zip(bound, one_by_one, strict=True):
        assert request.constraint is not None
        for sample in result.samples:
            ended += sample.finish_reason == "stop"
            # The look at texts afterwards agrees: it finds fault with what was cut off, and with nothing else.
            fault = KeepsTo(request.constraint).fault_in(sample)
            assert fault is None or (sample.finish_reason, fault.startswith("it was cut off")) == (
                "length",
                True,
            )
            assert fault is not None or keeps(request.constraint.kind, sample.text), sample
    assert ended >= 12


def test_a_preempted_sample_goes_on_in_its_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(max_position_embeddings=640)
    model.set_attn_implementation(ATTENTION)
    constraints = constraints_of(tiny_tokenizer())
    generator = random.Random(4)
    prompts = [[generator.randrange(4, 260) for _ in range(120)] for _ in range(9)]
    regex = Constraint(regex="([a-m]{3}[n-z]{2} ?){200}")

    def tokens_of(positions: int) -> tuple[list[list[int]], float]:
        masks = masks_of(constraints, regex, len(prompts))
        rule = StopRule((), {EOS}, 120, str)
        samples = [
            Sample(prompt, Sampling(temperature=1, max_tokens=120), n, rule, token_mask=mask)
            for n, (prompt, mask) in enumerate(zip(prompts, masks, strict=True))
        ]
        bench = Bench(model, rows=9, positions=positions, blocks=0).run(samples)
        model.set_output_embeddings(bench.decoder._head.head)
        assert not any(sample.error for sample in samples)
        return [sample.tokens for sample in samples], bench.stepper.figures()["preemptions"]

    monkeypatch.setattr(Scheduler, "_expected", lambda self, sample: len(sample.prompt) + 1)
    calm, none = tokens_of(20_000)
    crowded, some = tokens_of(least(640))
    assert (none, calm) == (0, crowded)
    assert some > 3
    for tokens in calm:
        assert re.match("([a-m]{3}[n-z]{2} ?){10}", constraints.decode(tokens))


def test_limits_stops_and_penalties_stay_as_they_are(folder: Path) -> None:
    letters = Constraint(regex="[a-z]+=[0-9]+;")
    cut, stopped, penal = answer(
        engine_of(folder),
        constrained(Constraint(regex="[a-z]{50}"), max_tokens=7),
        constrained(letters, stop="=", temperature=1.5, max_tokens=150, seeds=range(4)),
        constrained(Constraint(regex="[ab]{6}"), temperature=0, frequency_penalty=2, presence_penalty=2),
    )
    assert (cut.samples[0].finish_reason, cut.samples[0].output_tokens) == ("length", 7)
    assert [s.finish_reason for s in stopped.samples].count("stop") >= 2
    assert all(re.fullmatch("[a-z]+", s.text) for s in stopped.samples)
    assert set(penal.samples[0].text) == {"a", "b"}


def test_a_mask_of_ones_own_may_forbid_more(folder: Path) -> None:
    allowed = np.ones(len(tiny_tokenizer()), bool)
    allowed[[tiny_tokenizer().convert_tokens_to_ids(text) for text in ("y", "Ġ")]] = False
    request = constrained(CONSTRAINTS["choice"], seeds=range(6))
    request.token_mask = lambda prompt, tokens: allowed
    [result] = answer(engine_of(folder), request)
    assert {sample.text for sample in result.samples} == {"no/é😀"}
    request.token_mask = lambda prompt, tokens: None
    free = constrained(CONSTRAINTS["choice"], seeds=range(6))
    assert len(set(map(repr, answer(engine_of(folder), request, free)))) == 1


def test_a_stream_gives_the_same_text(tmp_path: Path) -> None:
    engine = engine_of(save_sentencepiece(tmp_path, "llama"))
    request = constrained(Constraint(choice=(" yes yes, é",)), seeds=[1, 2])

    async def work(engine: TorchEngine) -> list[str]:
        texts = ["", ""]
        async for chunk in engine.stream(request):
            texts[chunk.index] += chunk.text
        return texts

    assert with_engine(engine, work) == [" yes yes, é"] * 2


def test_what_cannot_be_kept_fails_its_row_alone(folder: Path) -> None:
    requests = [
        ask(0, "free"),
        constrained(Constraint(grammar="start: <|unheard_of|>"), 1),
        constrained(Constraint(grammar='start: "x" a | "xy" a\na: a'), 2),
        constrained(Constraint(regex="[a-c]{9}"), 3, min_tokens=30),
        constrained(CONSTRAINTS["choice"], 4),
    ]

    async def work(engine: TorchEngine) -> list[Any]:
        return await asyncio.gather(*map(engine.generate, requests), return_exceptions=True)

    free, *wrong, good = with_engine(engine_of(folder), work)
    assert [error.code for error in wrong] == ["invalid_constraint", "constraint_failed", "mask_forbids_all"]
    assert 'unknown special token: "<|unheard_of|>"' in wrong[0].message
    assert [free] == answer(engine_of(folder), requests[0])
    assert keeps("choice", good.samples[0].text)


def test_one_sample_that_used_up_the_shared_states_does_not_fail_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from llguidance import LLParserLimits

    few = LLParserLimits(verbose_errors=False, max_lexer_states=60)
    monkeypatch.setattr("raygen.config.grammar.limits", lambda: few)
    constraints = constraints_of(tiny_tokenizer())
    words = [f"{letter * 2}{n:05d}" for n, letter in enumerate("abcdefghijklmnop")]
    for word in words:  # each alone needs few states, all together more than there are
        [mask] = masks_of(constraints, Constraint(regex="|".join(f"{each[:2]}{each[2:]}" for each in words)))
        tokens: list[int] = []
        for letter in word:
            token = tiny_tokenizer().convert_tokens_to_ids(letter)
            assert mask([], tokens)[token], word
            tokens.append(token)
        assert set(np.flatnonzero(mask([], tokens))) == {EOS}


def test_a_model_that_cannot_keep_to_any_is_named() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    plain = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, "a")), eos_token="</s>"
    )
    with pytest.raises(EngineConfigError, match="model 'tiny': its tokenizer cannot keep to constraints"):
        masks_of(constraints_of(plain), CONSTRAINTS["choice"])
    endless = Constraints(ChatTokenizer(tiny_tokenizer(), frozenset(), 100), 300, "tiny")
    with pytest.raises(EngineConfigError, match="model 'tiny': no token ends its texts"):
        masks_of(endless, CONSTRAINTS["choice"])


def test_grammars_are_compiled_once_and_not_kept_for_ever() -> None:
    constraints = constraints_of(tiny_tokenizer())
    assert constraints.masks(ask(0, "free")) == [None]
    assert constraints._made is None  # the table of tokens waits for the first constraint
    masks_of(constraints, CONSTRAINTS["regex"], 3)
    masks_of(constraints, Constraint.model_validate(CONSTRAINTS["regex"].model_dump()))
    assert constraints._compiled.cache_info().misses == 1
    for number in range(COMPILED + 3):
        masks_of(constraints, Constraint(regex=f"a{number}"))
    assert constraints._compiled.cache_info().currsize == COMPILED


def test_an_engine_without_constraints_refuses_a_request_with_one() -> None:
    from raygen.config.model import ModelSpec
    from raygen.engines.echo import EchoEngine
    from raygen.models.resolved import ResolvedModel

    spec = ModelSpec(family="causal_lm", engine="echo")
    echo = EchoEngine(ResolvedModel("writer", spec, None, "echo"))
    with pytest.raises(RowError, match=r"'writer' \(engine `echo`.* takes no constraints") as refused:
        answer(echo, constrained(CONSTRAINTS["choice"]))  # type: ignore[arg-type]
    assert refused.value.code == "engine_unsupported"
