from __future__ import annotations

import pytest

from raygen.engines.openai.backoff import CAP_S, MAX_RETRY_AFTER_S, RetryBudget, retry_after_s

WALL = 1_445_412_420.0  # Wed, 21 Oct 2015 07:27:00 GMT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("86400", 86400.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 60.0),
        ("Wed, 21 Oct 2015 07:26:00 GMT", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None):
    assert retry_after_s(header, WALL) == seconds


def test_waits_double_up_to_the_cap_and_then_end():
    budget = RetryBudget(10, 3600, draw=lambda: 1.0)
    waits = [budget.after_failure(None) for _ in range(11)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, CAP_S, CAP_S, CAP_S, None]


def test_the_jitter_is_full_but_never_below_what_the_endpoint_asks():
    budget = RetryBudget(3, 3600, draw=lambda: 0.0)
    assert budget.after_failure(None) == 0.0
    assert budget.after_failure(2.5) == 2.5
    assert budget.after_failure(86400.0) == MAX_RETRY_AFTER_S


def test_no_retries_at_all():
    assert RetryBudget(0, 3600).after_failure(1.0) is None


def test_refusals_are_bounded_by_time_and_leave_the_retries_alone():
    budget = RetryBudget(1, 60.0)
    assert all(budget.after_refusal(100.0 + second) for second in range(60))
    assert not budget.after_refusal(160.0)
    assert budget.after_failure(None) is not None


def test_what_did_not_get_there_costs_nothing():
    budget = RetryBudget(0, 60.0, draw=lambda: 1.0)
    assert [budget.after_unsent() for _ in range(20)] == [0.5] * 20


def test_a_row_is_pardoned_for_what_everybody_met_but_not_for_ever():
    budget = RetryBudget(1, 60.0)
    assert budget.after_failure(None) is not None
    pardons = 0
    while budget.after_failure(None) is None and budget.pardon():
        pardons += 1
    assert pardons == 3


def test_a_pardon_forgets_refusals():
    budget = RetryBudget(1, 60.0)
    assert budget.after_refusal(0.0)
    assert not budget.after_refusal(60.0)
    assert budget.pardon()
    assert budget.after_refusal(61.0)


def test_errors_of_one_outage_count_once():
    budget = RetryBudget(3, 60.0)
    for outage in (7, 7, 7, 8, 8):
        assert budget.after_failure(None, outage) is not None
    assert (budget.failures, budget.half_spent) == (2, True)
    for _ in range(2):
        budget.after_failure(None)
    assert budget.failures == 4
