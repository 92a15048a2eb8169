"""Claims: a batch has one worker at a time as a rule, and nobody waits long for a dead one."""

from __future__ import annotations

import pytest

from raygen.serve.batches.claims import SILENT_S, Claims
from raygen.serve.batches.layout import Place, new_id
from raygen.serve.batches.objects import Objects
from tests.exactly_once.memory_store import MemoryStore

PLACE = Place("default", new_id("batch_"))


@pytest.fixture
def clock():
    return [1_000_000.0]


@pytest.fixture
def objects(clock):
    return Objects(MemoryStore(lambda: clock[0]))


def claims(objects, rank):
    found = Claims(objects, rank)
    found.beat()
    return found


def test_one_worker_claims_and_others_leave_it_alone(objects, clock):
    first, second = claims(objects, 0), claims(objects, 1)
    assert first.take(PLACE) == 1
    assert second.take(PLACE) is None
    assert first.take(PLACE) == 1
    assert first.holds(PLACE, 1)


def test_a_silent_worker_loses_its_claim_and_sees_so(objects, clock):
    first, second = claims(objects, 0), claims(objects, 1)
    first.take(PLACE)
    clock[0] += SILENT_S + 1
    assert second.take(PLACE) == 2
    assert not first.holds(PLACE, 1)


def test_who_takes_a_dead_workers_place_takes_its_batches_at_once(objects, clock):
    claims(objects, 0).take(PLACE)
    clock[0] += 1
    again = claims(objects, 0)
    assert again.take(PLACE) == 2
    clock[0] += 1
    assert claims(objects, 1).take(PLACE) is None


def test_two_workers_of_one_rank_do_not_take_turns_for_ever(objects, clock):
    first = claims(objects, 0)
    clock[0] += 1
    second = claims(objects, 0)
    clock[0] += 1
    assert second.take(PLACE) == 1
    assert first.take(PLACE) is None
