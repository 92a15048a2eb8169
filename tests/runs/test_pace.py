"""Pace: a run whose rows end in bursts is told the same time left before, in and between them."""

from __future__ import annotations

import pytest

from raygen.runs.pace import Rate, pace_of


def bursts(
    until_s: float, every_s: float = 250, rows: int = 128, spread_s: float = 10
) -> list[tuple[float, float]]:
    """A driver's points, twice a second: bursts of rows that end over a few seconds, one every few minutes."""
    points = []
    for tick in range(int(until_s * 2) + 1):
        whole, into_s = divmod(tick / 2 + spread_s, every_s)
        points.append((tick / 2, float(int(rows * (whole + min(1, into_s / spread_s) - 1)))))
    return points


def test_the_time_left_does_not_swing_with_bursts() -> None:
    total, every_s = 128 * 10, 250
    for now_s in range(252, 2400, 3):
        points = bursts(now_s)
        pace = pace_of(points, 0, now_s)
        assert pace is not None
        truth = every_s * 10 - now_s
        assert pace.left_s(total - points[-1][1]) == pytest.approx(truth, abs=30), now_s


def test_start_up_does_not_count_and_before_the_first_rows_nothing_is_said() -> None:
    points = [(float(t), 0.0) for t in range(600)]
    assert pace_of([], 0, 5) is None
    assert pace_of(points, 590, 599) is None
    pace = pace_of([*points, (600.0, 5.0)], 590, 600)
    assert pace is not None
    assert pace.per_s == 0.5


def test_what_holds_rows_up_slows_the_pace() -> None:
    points = [(float(t), t / 2 // 1) for t in range(100)]
    stalled = pace_of(points, 0, 1000)
    assert stalled is not None
    assert stalled.per_s == pytest.approx(0.049)


def test_a_long_session_forgets_how_it_began() -> None:
    slow = [(float(t), t // 10) for t in range(0, 3600, 5)]
    fast = [(3600 + t, 360 + t) for t in range(0, 3600, 5)]
    pace = pace_of([*slow, *fast], 0, 7195)
    assert pace is not None
    assert pace.per_s == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("every", [1, 4, 13])
def test_a_rate_does_not_alternate_when_posts_are_rarer_than_ticks(every: int) -> None:
    rate, found = Rate(), []
    for tick in range(400):
        posted = max(0, tick - 60) // every * every  # twice a second, after half a minute of starting
        rate.add(tick / 2, 10 * posted)
        if tick > 60 + 2 * every:
            found.append(rate.per_s(tick / 2))
    assert found == pytest.approx([20] * len(found))


def test_a_rate_falls_when_nothing_comes_and_is_not_below_nothing() -> None:
    rate = Rate()
    assert rate.per_s(0) is None
    for now_s, total in (
        (0, 100),
        (1, 200),
        (2, 300),
        (3, 20),
        (4, 400),
    ):  # one total of an engine that began anew
        rate.add(now_s, total)
    assert rate.per_s(4) == 75
    assert rate.per_s(304) == pytest.approx(300 / 304)
    rate.add(305, 10)  # it is not coming back
    rate.add(306, 20)
    assert rate.per_s(306) == 10
