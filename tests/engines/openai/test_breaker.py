"""The breaker, driven by a clock of the test's own."""

from __future__ import annotations

from itertools import pairwise

from raygen.engines.openai.breaker import (
    DENIED_S,
    FAULTS,
    LONGEST_PROBE_S,
    PROOF_S,
    Breaker,
    Due,
    Fault,
    Probed,
    Why,
)

DOWN = Fault(Why.REFUSED, "nothing listens there")
LOADING = Fault(503, "HTTP 503: loading")
BUSY = Fault(429, "HTTP 429: later", 1.0)
NO = Fault(403, "HTTP 403: no")
MANY = 100  # rows


def a_breaker(*, worked: bool = True) -> Breaker:
    breaker = Breaker(start_patience_s=30, max_refused_s=3600)
    breaker.sent(0.0)
    if worked:
        breaker.answered(10.0, samples=True)
    return breaker


def held(fault: Fault = DOWN, *, worked: bool = True) -> Breaker:
    """A breaker that has met FAULTS faults at second 10."""
    breaker = a_breaker(worked=worked)
    for _ in range(FAULTS):
        breaker.failed(10.0, fault)
    assert breaker.held
    return breaker


def probes_until_over(breaker: Breaker, fault: Fault, result: Probed = Probed.FAILED) -> list[float]:
    """Times of the probes, all of them answered like this at once, and of the end."""
    times = []
    while True:
        at = breaker.next_at
        assert at is not None
        due = breaker.due(at, MANY)
        times.append(at)
        if due is Due.OVER:
            return times
        assert due is Due.PROBE
        breaker.probed(at, result, fault)


def test_a_few_faults_are_their_rows():
    breaker = a_breaker()
    for second in range(20):
        for _ in range(FAULTS - 1):
            breaker.failed(second, LOADING)
        breaker.answered(10.0, samples=True)
    assert not breaker.held
    assert breaker.silent_since is breaker.next_at is None


def test_faults_without_an_answer_between_hold_everybody_and_the_probe_goes_at_once():
    breaker = held()
    assert (breaker.silent_since, breaker.next_at) == (10.0, 10.0)
    assert breaker.due(10.0, MANY) is Due.PROBE
    assert breaker.next_at is None  # one at a time
    breaker.probed(10.5, Probed.ANSWERED)
    assert not breaker.held
    assert breaker.next_at is None


def test_probes_become_rarer_and_at_last_the_endpoint_is_given_up():
    *probes, end = probes_until_over(held(), DOWN)
    assert probes[:7] == [10, 11, 13, 17, 25, 41, 71]
    assert {b - a for a, b in pairwise(probes[6:])} == {LONGEST_PROBE_S}
    assert end == 10.0 + 3600


def test_what_never_worked_is_given_up_soon_reckoned_from_the_first_request():
    assert probes_until_over(held(worked=False), DOWN)[-1] == 30.0
    assert probes_until_over(held(Fault(Why.NONSENSE, "<html>"), worked=False), DOWN)[-1] == 30.0


def test_an_address_that_answered_other_engines_is_not_a_wrong_one():
    breaker = held(worked=False)
    breaker.others_worked = True
    assert probes_until_over(breaker, DOWN)[-1] == 3600


def test_a_server_that_loads_its_model_is_waited_for():
    assert probes_until_over(held(LOADING, worked=False), DOWN)[-1] == 10.0 + 3600


def test_an_answer_under_way_ends_the_hold_only_before_a_probe_was_in_vain():
    breaker = held()
    breaker.answered(10.0, samples=True)
    assert not breaker.held
    breaker = held()
    assert breaker.due(10.0, MANY) is Due.PROBE
    breaker.probed(10.0, Probed.FAILED, DOWN)
    breaker.answered(10.0, samples=True)  # from before the server shut its door
    assert breaker.held
    assert breaker.silent_since is None


def test_a_probe_that_is_refused_shows_that_somebody_is_there():
    breaker = held()
    assert breaker.due(10.0, MANY) is Due.PROBE
    breaker.probed(11.0, Probed.REFUSED, BUSY)
    assert not breaker.held
    assert breaker.silent_since == 10.0


def test_refusals_have_one_clock_which_an_answer_sets_back():
    breaker = a_breaker()
    breaker.refused(5.0, BUSY)
    breaker.answered(10.0, samples=True)
    breaker.refused(20.0, BUSY)
    breaker.refused(3000.0, BUSY)
    assert not breaker.held
    assert breaker.next_at == 20.0 + 3600
    assert breaker.due(3619.0, MANY) is None
    assert breaker.due(3620.0, MANY) is Due.OVER


def test_a_row_that_alone_is_refused_does_not_end_the_run_if_the_probe_is_answered():
    breaker = a_breaker()
    breaker.refused(0.0, BUSY)
    assert breaker.due(3600.0, 1) is Due.PROBE
    breaker.probed(3600.0, Probed.ANSWERED)
    assert breaker.next_at is None
    breaker.refused(3601.0, BUSY)
    assert breaker.due(7201.0, 1) is Due.PROBE
    breaker.probed(7201.0, Probed.REFUSED, BUSY)
    assert breaker.due(7201.0, 1) is Due.OVER


def test_a_denial_before_anything_worked_holds_and_a_denied_probe_is_the_end():
    breaker = a_breaker(worked=False)
    breaker.denied(1.0)
    assert breaker.held
    assert breaker.due(1.0, MANY) is Due.PROBE
    breaker.probed(1.5, Probed.DENIED, NO)
    assert breaker.due(1.5, MANY) is Due.OVER


def test_a_denial_after_that_holds_nobody_until_a_probe_is_denied_too():
    breaker = a_breaker()
    breaker.denied(1.0)
    breaker.doubt(1.0)
    assert not breaker.held
    assert breaker.next_at == 1.0 + PROOF_S
    assert breaker.due(3.0, MANY) is Due.PROBE
    breaker.probed(3.0, Probed.DENIED, NO)
    assert breaker.held  # a gateway may say so for a moment
    assert probes_until_over(breaker, NO, Probed.DENIED)[-1] >= 3.0 + DENIED_S


def test_a_doubt_that_is_answered_by_another_row_needs_no_probe():
    breaker = a_breaker()
    breaker.denied(1.0)
    breaker.doubt(1.0)
    breaker.answered(10.0, samples=True)
    breaker.proven()
    assert breaker.next_at is None


def test_short_refusals_are_not_told():
    breaker = a_breaker()
    breaker.refused(10.0, BUSY)
    assert not breaker.shown(12.0)
    assert breaker.shown(15.0)
    breaker = held()
    assert not breaker.shown(10.0)
    assert breaker.due(10.0, MANY) is Due.PROBE
    breaker.probed(10.0, Probed.FAILED, DOWN)
    assert breaker.shown(10.0)


def test_an_answer_to_what_was_sent_before_leaves_a_doubt():
    breaker = a_breaker()
    breaker.denied(10.0)
    breaker.doubt(10.0)
    for _ in range(FAULTS):
        breaker.failed(10.0, DOWN)
    assert breaker.held
    breaker.answered(10.0, samples=True)
    assert not breaker.held
    assert breaker.next_at == 10.0 + PROOF_S
    assert breaker.due(10.0 + PROOF_S, 1) is Due.PROBE
    breaker.probed(13.0, Probed.ANSWERED)
    assert breaker.next_at is None
