"""The admission policy against simulated endpoints, with a clock of its own: minutes pass in milliseconds."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from raygen.engines.openai.admission import MAX_PROBE_WAIT_S, Admission

LATENCY_S = 0.37
REFUSAL_S = 0.002  # an endpoint refuses much faster than it generates


@dataclass
class Simulation:
    """An endpoint that serves `capacity(now)` requests at once and refuses the rest."""

    admission: Admission
    capacity: Callable[[float], int]
    retry_after_s: float | None = 1.0
    latency_s: float = LATENCY_S
    now: float = 0.0
    served: int = 0
    serving: int = 0
    refusals: list[float] = field(default_factory=list)
    levels: list[tuple[float, int]] = field(default_factory=list)

    def run(self, *, rows: float = float("inf"), until: float = float("inf")) -> None:
        events: list[tuple[float, int, bool]] = []
        while self.served < rows and self.now < until:
            while (ticket := self.admission.admit(self.now)) is not None:
                accepted = self.serving < self.capacity(self.now)
                self.serving += accepted
                heapq.heappush(
                    events, (self.now + (self.latency_s if accepted else REFUSAL_S), ticket, accepted)
                )
            assert 1 <= self.admission.limit <= self.admission.bound
            assert 0 <= self.admission.in_flight <= self.admission.bound
            if not events:
                self.now = self.admission.paused_until
                continue
            if self.admission.in_flight < self.admission.limit and self.admission.paused_until < events[0][0]:
                self.now = max(self.now, self.admission.paused_until)  # the pause ends before the next answer
                continue
            self.now, ticket, accepted = heapq.heappop(events)
            if accepted:
                self.serving -= 1
                self.served += 1
                self.admission.served(ticket, self.now)
            else:
                self.refusals.append(self.now)
                self.admission.refused(ticket, self.now, self.retry_after_s)
            self.levels.append((self.now, self.admission.limit))

    def level_at(self, time: float) -> int:
        return [level for t, level in self.levels if t <= time][-1]


def admission(bound: int, **options: int) -> Admission:
    return Admission(bound, draw=random.Random(0).random, **options)


def test_without_refusals_the_default_bound_is_used_at_once():
    run = Simulation(admission(64), lambda now: 10_000)
    run.run(rows=2000)
    assert run.served / run.now > 165
    assert {level for _, level in run.levels} == {64}


def test_a_large_bound_is_reached_by_doubling_in_two_round_trips():
    run = Simulation(admission(256), lambda now: 10_000)
    run.run(rows=4000)
    assert run.level_at(1.01 * LATENCY_S) == 128
    assert run.level_at(2.02 * LATENCY_S) == 256


def test_a_hard_limit_is_found_with_one_burst_of_refusals():
    run = Simulation(admission(64), lambda now: 32)
    run.run(rows=2000)
    assert run.served / run.now >= 80  # 86.5 is ideal
    assert len(run.refusals) < 40  # one burst of 32, and a probe of 2
    assert run.admission.ceiling == 32


def test_a_burst_of_refusals_is_one_signal():
    policy = admission(640)
    tickets = [policy.admit(0.0) for _ in range(64)]
    for ticket in tickets[:33]:
        policy.refused(ticket, 0.1, 1.0)
    assert policy.limit == 32  # half of 64, not a half of a half
    for ticket in tickets[33:]:
        policy.served(ticket, 0.4)
    assert policy.limit == 32  # sent before the cut: no reason to grow


def test_a_cut_goes_below_the_ceiling_that_it_found():
    policy = admission(40)
    tickets = [policy.admit(0.0) for _ in range(40)]
    policy.refused(tickets[0], 0.1, 1.0)
    assert (policy.limit, policy.ceiling) == (36, 39)


def test_after_refusals_in_a_row_the_level_doubles_up_to_half_of_the_first():
    policy = admission(64)
    now = 0.0
    for _ in range(7):
        tickets = [policy.admit(now) for _ in range(policy.limit)]
        for ticket in tickets:
            policy.refused(ticket, now, 1.0)
        now = policy.paused_until
    assert policy.limit == 1
    in_flight: deque[int] = deque()
    for _ in range(31):  # each success adds one: the level doubles in a round-trip
        while (ticket := policy.admit(now)) is not None:
            in_flight.append(ticket)
        policy.served(in_flight.popleft(), now)
    assert policy.limit == 32
    while (ticket := policy.admit(now)) is not None:
        in_flight.append(ticket)
    for _ in range(8):
        policy.served(in_flight.popleft(), now)
    assert policy.limit == 32  # from half of the first refused level on: two a round-trip


def test_nothing_is_sent_until_retry_after_has_passed():
    policy = admission(8)
    policy.refused(policy.admit(10.0), 10.0, 5.0)
    assert policy.admit(14.99) is None
    assert policy.admit(15.3) is not None


def test_silent_refusals_are_met_with_pauses_that_double():
    policy = admission(8)
    now, pauses = 0.0, []
    for _ in range(6):
        policy.refused(policy.admit(now), now, None)
        pauses.append(policy.paused_until - now)
        now = policy.paused_until
    assert all(0.25 * 2**k <= pause <= 0.5 * 2**k for k, pause in enumerate(pauses))
    policy.served(policy.admit(now), now)
    policy.refused(policy.admit(now), now, None)
    assert policy.paused_until - now <= 0.5  # a success ends the series


def test_a_limit_that_stays_is_probed_ever_more_rarely():
    run = Simulation(admission(64), lambda now: 32)
    run.run(until=3600.0)
    bursts = [t for before, t in zip([-9.0, *run.refusals], run.refusals, strict=False) if t - before > 1]
    gaps = [later - earlier for earlier, later in pairwise(bursts[1:])]
    assert all(later > earlier - 0.1 for earlier, later in pairwise(gaps))
    assert gaps[-1] >= MAX_PROBE_WAIT_S
    assert len(bursts) <= 12
    assert run.served / run.now > 0.99 * 32 / LATENCY_S


def test_capacity_that_is_added_is_found():
    run = Simulation(admission(256), lambda now: 32 if now < 60 else 200)
    run.run(until=200.0)
    assert run.level_at(55.0) == 32
    assert run.level_at(80.0) >= 180  # the steps of a probe that succeeds double


def test_capacity_that_is_lost_is_followed():
    run = Simulation(admission(64), lambda now: 64 if now < 10 else 16)
    run.run(until=60.0)
    assert run.level_at(9.0) == 64
    assert run.level_at(59.0) <= 17
    assert len([t for t in run.refusals if t > 20]) < 20


def test_after_an_outage_the_old_level_comes_back():
    run = Simulation(admission(64), lambda now: 0 if 10 <= now < 70 else 64, retry_after_s=None)
    run.run(until=120.0)
    assert run.level_at(69.0) == 1
    assert run.level_at(119.0) == 64
    assert len(run.refusals) < 150  # a minute of refusals costs a few halvings, not a hammering


def test_the_additive_phase_follows_the_doubling():
    run = Simulation(admission(64), lambda now: 0 if now < 0.1 else 64)
    run.run(until=12.0)
    assert run.level_at(1.1) == 32  # the whole burst was refused: half is left
    grown = [run.level_at(1.1 + trips * LATENCY_S) for trips in range(5)]
    assert all(1 <= later - earlier <= 3 for earlier, later in pairwise(grown))
    assert run.level_at(12.0) == 64


def test_a_level_that_is_not_used_does_not_grow():
    policy = admission(256)
    for step in range(500):
        policy.served(policy.admit(step * 1.0), step + 0.4)
    assert policy.limit == 64


def test_errors_say_nothing_about_load():
    policy = admission(8)
    for _ in range(20):
        policy.failed(policy.admit(0.0))
    assert (policy.limit, policy.in_flight, policy.ceiling) == (8, 0, None)


def test_any_order_of_events_keeps_the_level_in_its_bounds():
    chance = random.Random(1)
    policy = Admission(50, start=10, draw=chance.random)
    tickets: list[int] = []
    now = 0.0
    for _ in range(20_000):
        now += chance.random() * 0.1
        if (ticket := policy.admit(now)) is not None:
            tickets.append(ticket)
        if tickets and chance.random() < 0.6:
            ticket = tickets.pop(chance.randrange(len(tickets)))
            ending = chance.random()
            if ending < 0.9:
                policy.served(ticket, now)
            elif ending < 0.95:
                policy.refused(ticket, now, chance.choice([None, 0.0, 0.3]))
            else:
                policy.failed(ticket)
        assert 1 <= policy.limit <= 50
        assert policy.in_flight == len(tickets)
        assert policy.ceiling is None or 1 <= policy.ceiling < 50


def waves_after_an_outage(hanging: int) -> list[int]:
    """How many requests are sent at once, second by second, beside some that never end."""
    admission = Admission(64, start=64)
    admission.restart()
    for _ in range(hanging):
        assert admission.admit(0) is not None
    waves = []
    for second in range(20):
        tickets = []
        while (ticket := admission.admit(second)) is not None:
            tickets.append(ticket)
        waves.append(len(tickets))
        for ticket in tickets:
            admission.served(ticket, second)
    return waves


def test_after_an_outage_it_begins_with_two_and_comes_back():
    waves = waves_after_an_outage(hanging=0)
    assert waves[:2] == [2, 3]
    assert waves == sorted(waves)
    assert waves[-1] == 64


def test_after_an_outage_a_request_that_hangs_keeps_nobody_waiting():
    waves = waves_after_an_outage(hanging=1)
    assert waves[0] == 1
    assert waves[-1] == 63


def test_a_request_ends_once():
    policy = Admission(4)
    ticket = policy.admit(0.0)
    assert ticket is not None
    policy.failed(ticket)
    for again in (policy.failed, lambda ticket: policy.served(ticket, 0.0)):
        with pytest.raises(KeyError):
            again(ticket)
    assert policy.in_flight == 0
