"""People before batches: slots at once, prompts first, a floor for batches; and not one token is another."""

from __future__ import annotations

import random

import pytest

from raygen.engines.requests import BATCH, INTERACTIVE
from raygen.engines.torch import scheduler as module
from raygen.engines.torch.sample import Sample
from tests.engines.torch.test_scheduler import Simulation
from tests.engines.torch.test_scheduler import sample as sample_of


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def simulation(rows: int = 4, positions: int = 20_000, share: float = 1.0) -> tuple[Simulation, Clock]:
    made, clock = Simulation(positions=positions, rows=rows), Clock()
    made.scheduler._clock = clock
    made.scheduler.batch_share = share
    return made, clock


def samples(count: int, priority: int, seed: int = 0, tokens: int = 40, prompt: int = 30) -> list[Sample]:
    draws = random.Random(seed)
    found = []
    for n in range(count):
        made = sample_of([draws.randrange(1000) for _ in range(prompt)], tokens, seed * 1000 + n)
        made.priority = priority
        found.append(made)
    return found


def running(made: Simulation) -> list[Sample]:
    return list(made.scheduler._running)


def test_somebody_who_waits_takes_the_slot_of_the_youngest_batch_sample():
    made, _ = simulation()
    batch, person = samples(4, BATCH), samples(1, INTERACTIVE, 1)
    made.scheduler.submit(batch)
    for _ in range(5):
        made.step()
    youngest = running(made)[-1]
    made.scheduler.submit(person)
    made.step()
    assert person[0] in running(made)
    assert youngest not in running(made)
    assert made.scheduler._behind[0] is youngest


def test_preemption_changes_no_token():
    quiet, _ = simulation()
    alone = samples(9, BATCH)
    quiet.scheduler.submit(alone)
    quiet.run()
    made, clock = simulation()
    batch = samples(9, BATCH)
    made.scheduler.submit(batch)
    draws = random.Random(3)
    for n in range(60):
        made.step()
        clock.now += 1
        if draws.random() < 0.3:
            made.scheduler.submit(samples(draws.randrange(1, 4), INTERACTIVE, 10 + n, tokens=8))
    made.run()
    assert made.scheduler.preemptions > 0
    assert [each.tokens for each in batch] == [each.tokens for each in alone]


def test_one_batch_sample_always_keeps_its_slot_and_gets_on():
    made, _ = simulation()
    batch = samples(4, BATCH)
    made.scheduler.submit(batch)
    made.step()
    for n in range(200):
        if len(made.scheduler._waiting) < 8:
            made.scheduler.submit(samples(4, INTERACTIVE, 1 + n, tokens=5))
        made.step()
        assert made.scheduler.batch >= module.FLOOR or not made.scheduler._behind
    assert any(each.done for each in batch)


def test_batches_leave_a_share_of_the_slots_free_while_people_ask_and_take_all_in_a_lull():
    made, clock = simulation(rows=8, share=0.5)
    made.scheduler.submit(samples(1, INTERACTIVE, 1, tokens=3))
    made.scheduler.submit(samples(30, BATCH, tokens=20))
    made.step()
    assert made.scheduler.batch <= 4
    for _ in range(6):
        made.step()
    assert made.scheduler.batch == 4
    clock.now += module.LULL_S + 1
    made.step()
    made.step()
    assert made.scheduler.batch == 8


def test_a_prompt_of_somebody_who_waits_is_computed_without_batch_samples_beside_it():
    made, _ = simulation()
    made.scheduler.submit(samples(3, BATCH))
    for _ in range(3):
        made.step()
    made.scheduler.submit(samples(1, INTERACTIVE, 1))
    step = made.step()
    assert [piece.sample.priority for piece in step.pieces] == [INTERACTIVE]
    assert step.decode == []
    assert len(made.step().decode) == 4


def test_batches_pause_for_a_few_steps_at_most(monkeypatch):
    monkeypatch.setattr(module, "MOST_PAUSES", 2)
    made, _ = simulation(rows=8)
    batch = samples(2, BATCH)
    made.scheduler.submit(batch)
    made.step()
    seen = []
    for n in range(9):
        made.scheduler.submit(samples(1, INTERACTIVE, 1 + n, tokens=1))
        seen.append(any(each.priority == BATCH for each in made.step().decode))
    assert seen == [False, False, True] * 3


@pytest.mark.parametrize("seed", range(5))
def test_in_short_memory_people_get_that_of_batches(seed):
    made, _ = simulation(rows=8, positions=3000)
    batch = samples(8, BATCH, seed, tokens=300)
    made.scheduler.submit(batch)
    for _ in range(250):
        made.step()
    person = samples(1, INTERACTIVE, 100 + seed, tokens=5, prompt=400)
    made.scheduler.submit(person)
    for _ in range(12):
        made.step()
    assert person[0] in running(made) or person[0].done
    made.run()
    assert all(each.done for each in batch)


def long_ones(count: int, shared: int) -> list[Sample]:
    """Samples that somebody waits for, with prompts of 700 tokens that begin with `shared` equal ones."""
    draws = random.Random(5)
    begin = [draws.randrange(1000) for _ in range(shared)]
    prompts = [[*begin, *(draws.randrange(1000) for _ in range(700 - shared))] for _ in range(count)]
    return [sample_of(prompt, 5, n) for n, prompt in enumerate(prompts)]


@pytest.mark.parametrize("shared", [0, 650])  # the step is full; what both begin with is being computed
def test_whoever_could_not_use_a_slot_yet_takes_none_of_batches(shared):
    made, _ = simulation(rows=8)
    made.scheduler.submit(samples(4, BATCH, tokens=60))
    for _ in range(5):
        made.step()
    for person in long_ones(3, shared):  # four slots are free
        made.scheduler.submit([person])
        made.step()
    assert made.scheduler.preemptions == 0
    made.run()
