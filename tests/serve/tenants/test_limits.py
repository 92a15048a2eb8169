"""Limits hold while requests race: what is asked for is reserved before work."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from raygen.serve.config import Limits
from raygen.serve.tenants.limits import Limiter
from raygen.usage import Usage
from raygen.wire.errors import ApiError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def tokens(n: int) -> Usage:
    return Usage(output_tokens=n)


def test_a_minute_holds_so_many_requests_and_refills():
    clock = Clock()
    limiter, limits = Limiter(clock=clock), Limits(rpm=2)
    for _ in range(2):
        limiter.release(limiter.reserve("t", limits, tokens(1)))
    with pytest.raises(ApiError) as caught:
        limiter.reserve("t", limits, tokens(1))
    assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
    assert caught.value.headers["retry-after"] == "30"
    clock.now = 30
    limiter.reserve("t", limits, tokens(1))


def test_what_is_not_used_is_given_back():
    limiter, limits = Limiter(clock=Clock()), Limits(tpm=100)
    hold = limiter.reserve("t", limits, tokens(100))
    with pytest.raises(ApiError):
        limiter.reserve("t", limits, tokens(1))
    hold.settle(tokens(10))
    limiter.release(hold)
    limiter.reserve("t", limits, tokens(90))
    with pytest.raises(ApiError):
        limiter.reserve("t", limits, tokens(1))


@pytest.mark.parametrize("limits", [Limits(in_flight=10), Limits(rpm=10), Limits(tpm=100)])
def test_a_hundred_at_once_over_two_gateways_never_get_more_than_the_limit(limits):
    gateways = [Limiter(copies=2, clock=Clock()) for _ in range(2)]

    def ask(n: int) -> bool:
        try:
            gateways[n % 2].reserve("t", limits, tokens(10))
        except ApiError:
            return False
        return True

    with ThreadPoolExecutor(32) as pool:
        admitted = sum(pool.map(ask, range(100)))
    assert 0 < admitted <= 10


def test_a_month_is_held_before_work_and_what_is_not_used_is_given_back():
    used = [0.0]
    limiter, limits = Limiter(month_tokens=lambda tenant: used[0]), Limits(monthly_tokens=100)
    holds = []

    def ask(n: int) -> bool:
        try:
            holds.append(limiter.reserve("t" if n % 2 else "t/key", limits, tokens(10)))
        except ApiError:
            return False
        return True

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(ask, range(50))) == 10
    with pytest.raises(ApiError, match="of this month"):
        limiter.check_month("t", limits)
    for hold in holds:
        used[0] += 4
        limiter.release(hold)
    limiter.check_month("t", limits)
    assert ask(0)
    used[0] = 100
    with pytest.raises(ApiError):
        limiter.check_month("t", limits)


def test_one_tenant_does_not_use_up_another_ones_limit():
    limiter, limits = Limiter(clock=Clock()), Limits(rpm=1)
    limiter.reserve("a", limits, tokens(1))
    limiter.reserve("b", limits, tokens(1))


def test_a_month_that_is_used_up_says_so_and_is_not_worth_asking_again():
    limiter = Limiter(month_tokens=lambda tenant: 1000.0)
    with pytest.raises(ApiError) as caught:
        limiter.reserve("t", Limits(monthly_tokens=1000), tokens(1))
    assert caught.value.code == "insufficient_quota"
    assert caught.value.headers["x-should-retry"] == "false"


def test_a_request_larger_than_a_minute_waits_for_a_full_bucket_and_is_then_let_in():
    clock = Clock()
    limiter, limits = Limiter(clock=clock), Limits(tpm=100)
    limiter.reserve("t", limits, tokens(500))
    with pytest.raises(ApiError):
        limiter.reserve("t", limits, tokens(1))
