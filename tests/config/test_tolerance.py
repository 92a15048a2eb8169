from __future__ import annotations

import pytest

from raygen.config.tolerance import Tolerance


@pytest.mark.parametrize(
    ("said", "failed", "done", "exceeded"),
    [
        ("100", 100, 5000, False),
        (100, 101, 5000, True),
        ("0", 1, 1, True),
        ("5%", 1, 1, False),  # the first row need not stand for the others
        ("5%", 20, 20, False),
        ("5%", 21, 21, True),
        ("5%", 100, 2000, False),
        ("5%", 101, 2000, True),
        ("2.5%", 11, 20, True),
        ("0%", 1, 1, True),
    ],
)
def test_how_many_failed_rows_are_borne(said: str | int, failed: int, done: int, exceeded: bool):
    assert Tolerance.of(said).exceeded(failed, done, 10_000) == exceeded


def test_of_a_small_run_the_part_is_of_its_rows():
    assert Tolerance.of("5%").exceeded(3, 10, 40)
    assert not Tolerance.of("5%").exceeded(2, 10, 40)


@pytest.mark.parametrize("said", ["", "5 %", "-1", "100%", "1e3", "5%%", "five", "٣%", "1.5", "."])
def test_what_says_no_number_is_refused(said: str):
    with pytest.raises(ValueError, match="such as 5%"):
        Tolerance.of(said)
