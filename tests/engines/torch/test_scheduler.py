"""The scheduler, driven without a model: everyone ends, nothing is computed twice or out of order, nobody starves."""

from __future__ import annotations

import random

import pytest

from raygen.config.sampling import Sampling
from raygen.engines.torch import scheduler as module
from raygen.engines.torch.facts import PIECE
from raygen.engines.torch.memory.arena import Memory, least
from raygen.engines.torch.memory.prefixes import BLOCK, Prefixes
from raygen.engines.torch.sample import Sample
from raygen.engines.torch.scheduler import Scheduler
from raygen.engines.torch.step import Step
from raygen.engines.torch.stopping import StopRule
from tests.engines.torch.memory.test_arena import Twin

CONTEXT = 1000


class Simulation:
    """An engine whose model computes nothing: a position's keys are its token and those before."""

    def __init__(self, positions: int = 20_000, rows: int = 16, blocks: int = 200) -> None:
        self.store = Twin(positions)
        self.memory = Memory(positions, CONTEXT, rows, self.store)  # type: ignore[arg-type]
        self.prefixes = Prefixes(blocks)
        self.blocks: dict[int, list[object]] = {}
        self.scheduler = Scheduler(self.memory, self.prefixes, rows, 2 * PIECE)
        self.ended: list[Sample] = []

    def step(self) -> Step:
        step = self.scheduler.next_step()
        for sample, nodes in step.loads:
            kept = [value for node in nodes for value in self.blocks[node.block]]
            assert sample.computed <= len(kept) < sample.computed + BLOCK
            for position, value in enumerate(kept):
                self.store.write(self.memory.slot(sample), position, value)  # type: ignore[arg-type]
        for sample in step.decode:
            self.compute(sample, sample.computed, sample.computed + 1)
        for piece in step.pieces:
            assert piece.start == piece.sample.computed
            self.compute(piece.sample, piece.start, piece.stop)
        pairs = self.scheduler.computed(step)
        for leader, follower in pairs:
            self.store.copy(self.memory.slot(leader), self.memory.slot(follower), follower.computed)
        for sample in [*step.decode, *(p.sample for p in step.pieces), *(f for _, f in pairs)]:
            if sample.computed == sample.known:
                sample.tokens.append(self.token(sample))
                sample.finish_reason = sample.rule.check(sample.tokens)
                if sample.done:
                    self.ended.append(sample)
        for sample, node in self.scheduler.complete(step):
            self.blocks[node.block] = self.store.read(self.memory.slot(sample), node.start + BLOCK)[
                node.start :
            ]
            self.prefixes.publish([node])
        return step

    def compute(self, sample: Sample, start: int, stop: int) -> None:
        slot = self.memory.slot(sample)
        for position in range(start, stop):
            before = self.store.read(slot, position)
            last = before[-1] if before else None
            self.store.write(slot, position, (sample.token_at(position), hash(last)))
        assert self.store.read(slot, stop) == keys_of(sample, stop)

    def token(self, sample: Sample) -> int:
        return hash((keys_of(sample, sample.known)[-1], sample.seed)) % 1000

    def run(self, limit: int = 20_000) -> int:
        for steps in range(limit):
            if not self.step():
                assert self.scheduler.running == self.scheduler.waiting == 0
                assert self.memory.used == 0
                return steps
        raise AssertionError("it does not end")


def keys_of(sample: Sample, positions: int) -> list[tuple[int, int]]:
    keys: list[tuple[int, int]] = []
    for position in range(positions):
        keys.append((sample.token_at(position), hash(keys[-1] if keys else None)))
    return keys


def sample(prompt: list[int], limit: int = 10, seed: int = 0) -> Sample:
    return Sample(prompt, Sampling(), seed, StopRule((), (), limit, str))


def expected_tokens(prompt: list[int], limit: int, seed: int) -> list[int]:
    lone = sample(prompt, limit, seed)
    while len(lone.tokens) < limit:
        lone.tokens.append(hash((keys_of(lone, lone.known)[-1], seed)) % 1000)
    return lone.tokens


@pytest.mark.parametrize("seed", range(8))
def test_every_sample_ends_as_if_it_were_alone(seed: int, monkeypatch: pytest.MonkeyPatch):
    chance = random.Random(seed)
    monkeypatch.setattr(module, "FIRST_GUESS", chance.choice([1, 128]))
    monkeypatch.setattr(Scheduler, "_typical", property(lambda self: None, lambda self, value: None), False)
    engine = Simulation(least(CONTEXT) + chance.choice([0, 600, 9000]), 8, chance.choice([0, 12, 200]))
    common = [[chance.randrange(9) for _ in range(chance.choice([9, 60]))] for _ in range(3)]
    waiting = []
    for number in range(40):
        prompt = chance.choice(common) + [chance.randrange(9) for _ in range(chance.choice([0, 1, 7, 70]))]
        limit = chance.choice([1, 5, 40, 120])
        waiting += [sample(prompt, limit, number * 8 + n) for n in range(chance.choice([1, 1, 3]))]
    every = list(waiting)
    dropped = set(chance.sample(range(len(every)), 5))
    while waiting:
        engine.scheduler.submit(waiting[:3])
        del waiting[:3]
        engine.step()
        for number in list(dropped):
            if every[number].tokens or chance.random() < 0.05:
                every[number].cancelled = True
                dropped.discard(number)
    engine.run()
    for each in every:
        if not each.cancelled:
            assert each.tokens == expected_tokens(each.prompt, each.rule.limit, each.seed)
    if engine.memory.positions < least(CONTEXT) + 600 and module.FIRST_GUESS == 1:
        assert engine.scheduler.preemptions


def test_running_samples_get_a_token_in_every_step_while_a_long_prompt_is_read():
    engine = Simulation()
    short = sample([1, 2, 3], 60)
    engine.scheduler.submit([short])
    engine.step()
    engine.scheduler.submit([sample([4 + n] * 900) for n in range(3)])
    pieces = 0
    for tokens in range(2, 9):
        step = engine.step()
        assert len(short.tokens) == tokens
        assert sum(piece.stop - piece.start for piece in step.pieces) <= 2 * PIECE
        pieces += len(step.pieces)
    assert pieces >= 9


def test_samples_of_one_prompt_compute_it_once():
    engine = Simulation()
    prompt = list(range(61))
    engine.scheduler.submit([sample(prompt, 5, seed) for seed in range(8)])
    engine.run()
    assert engine.scheduler.computed_tokens == 61
    assert engine.scheduler.reused_tokens == 7 * 61
    assert len({tuple(each.tokens) for each in engine.ended}) == 8


def test_five_long_beginnings_over_many_rows_are_computed_once_each():
    engine = Simulation(blocks=400)
    chance = random.Random(2)
    prompts = [
        [kind] * 400 + [chance.randrange(9) for _ in range(10)] for kind in range(5) for _ in range(40)
    ]
    chance.shuffle(prompts)
    engine.scheduler.submit([sample(prompt) for prompt in prompts])
    engine.run()
    unique = 5 * 400 + len(prompts) * 10
    assert engine.scheduler.computed_tokens <= 1.1 * unique


def test_a_beginning_stays_hot_when_memory_holds_only_one():
    engine = Simulation(blocks=60, rows=4)
    prompts = [[kind] * 320 + [number] for number in range(30) for kind in range(3)]
    engine.scheduler.submit([sample(prompt, 2) for prompt in prompts])
    engine.run()
    assert engine.scheduler.computed_tokens < 90 * 321 / 4  # in the order of arrival: nearly all
    assert len(engine.ended) == 90


def test_nobody_is_passed_over_for_ever(monkeypatch: pytest.MonkeyPatch):
    engine = Simulation(rows=2)
    hot = [1] * 100
    engine.scheduler.submit([sample(hot)])
    engine.run()
    cold = sample([2] * 50)
    engine.scheduler.submit([sample([*hot, 5]) for _ in range(20)])
    engine.step()
    engine.scheduler.submit([cold])
    for _ in range(3000):
        engine.scheduler.submit([sample([*hot, len(engine.ended) % 9])])
        engine.step()
        if cold.done:
            return
    raise AssertionError("it still waits")


def test_a_cancelled_sample_frees_its_slot_with_the_next_step():
    engine = Simulation()
    long = sample([1] * 20, 500)
    engine.scheduler.submit([long, sample([2] * 20, 500)])
    engine.step()
    assert engine.scheduler.running == 2
    long.cancelled = True
    engine.step()
    assert engine.scheduler.running == 1
    assert long.place is None


def test_followers_of_a_cancelled_leader_go_on_alone():
    engine = Simulation()
    prompt = list(range(700))  # three pieces
    samples = [sample(prompt, 5, seed) for seed in range(3)]
    engine.scheduler.submit(samples)
    engine.step()
    samples[0].cancelled = True
    engine.run()
    assert [len(each.tokens) for each in samples] == [0, 5, 5]
