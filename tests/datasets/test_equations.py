from __future__ import annotations

import re

import pytest

from raygen.config.constraint import Constraint
from raygen.datasets.arithmetic import SHOTS
from raygen.datasets.equations import (
    calculate,
    consistent,
    final_answer,
    form_of,
    inconsistency,
    sound,
)


def test_the_shown_solutions_are_sound() -> None:
    for problem, solution in SHOTS:
        assert sound(problem, solution)
        steps = solution.count("=")
        assert re.fullmatch(form_of(steps, 20), solution)
        assert not re.fullmatch(form_of(steps + 1, 20), solution)


def test_the_form_is_of_true_equations() -> None:
    form = re.compile(form_of(1, 12))
    for left in range(15):
        for operation in "+-*/":
            for right in range(15):
                result = calculate(left, operation, right)
                for written in {0, 1, left + right, abs(left - right), left * right, result} - {None}:
                    allowed = written == result and result >= 0 and 1 <= left <= 12 and 1 <= right <= 12
                    text = f"{left} {operation} {right} = {written}. Answer: 5"
                    assert bool(form.fullmatch(text)) is allowed, text


def test_the_largest_form_is_a_constraint() -> None:
    assert Constraint(regex=form_of(4, 100)).kind == "regex"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("3 + 4 = 7. Answer: 7", 7),
        ("Answer: 7. No, the answer is 8", 8),
        ("answer = **12**", 12),
        ("It has 3 + 4 = 7 balls", 7),  # no word of an answer: its last number
        ("Answer: -7", -7),
        ("7 - 9 = -2", -2),
        ("9-2", 2),
        ("Answer: 6.5", None),  # no part of another number
        ("2 + 2 = 4. Answer: 4.5", None),  # nor the number before it
        ("2 + 2 = 4. Answer: 4,000", None),
        ("2 + 2 = 4. Answer: 4.", 4),
        ("Answer: " + "9" * 5000, None),  # more digits than Python reads
        ("none", None),
        ("", None),
    ],
)
def test_final_answer(text: str, answer: int | None) -> None:
    assert final_answer(text) == answer


PROBLEM = "Tom has 5 balls. Tom gets 4 more. Tom loses 3. How many?"


@pytest.mark.parametrize(
    ("solution", "good"),
    [
        ("5 + 4 = 9. 9 - 3 = 6. Answer: 6", True),
        ("Tom has 5+4=9 balls, then 9 - 3 = 6 balls", True),
        ("5 - 3 = 2. 2 + 4 = 6. Answer: 6", True),  # another order that comes to the same
        ("5 + 4 = 8. 8 - 3 = 6. Answer: 6", False),  # equations that are not true
        ("5 + 4 = 9. 9 - 3 = 6. Answer: 7", False),  # another answer
        ("9 - 3 = 6. Answer: 6", False),  # a number that the problem does not give
        ("5 + 4 = 9. 2 * 3 = 6. Answer: 6", False),  # does not go on from the result
        ("5 + 4 = 9. 9 - 3 = 6. 6 * 1 = 6. Answer: 6", False),  # one number too many
        ("Answer: 6", False),
    ],
)
def test_sound(solution: str, good: bool) -> None:
    assert sound(PROBLEM, solution) is good


def test_division_is_whole() -> None:
    assert calculate(6, "/", 3) == 2
    assert calculate(7, "/", 3) is None
    assert calculate(7, "/", 0) is None


@pytest.mark.parametrize(
    ("solution", "finding"),
    [
        ("5 + 4 = 9. 9 - 3 = 6. Answer: 6", None),
        ("Answer: 6", "it has no equation"),
        (f"{'9' * 5000} + 1 = 2. 1 + 1 = {'9' * 5000}. Answer: 2", "it has no equation"),
        ("1 + 2 = 3.9. Answer: 3", "it has no equation"),
        ("1.5 + 2 = 3. Answer: 3", "it has no equation"),
        ("2 + 3 + 4 = 9. Answer: 9", "it has no equation"),
        ("2+3+4=9. Answer: 9", "it has no equation"),
        ("-3 + 4 = 1. Answer: 1", "it has no equation"),
        ("2 + 2 = 4 - 9. Answer: 4", "it has no equation"),
        ("2+2=4=4. Answer: 4", "it has no equation"),
        ("9 − 2 = 7.\n- 7 x 1 = 7. Answer: 7", None),
        ("9" * 100_000 + "x", "it has no equation"),  # in no time
        ("5 + 4 = 8. 8 - 3 = 5. Answer: 5", "5 + 4 = 8 is not true"),
        ("5 + 4 = 9. 8 - 3 = 5. Answer: 5", "it goes on from 8, not from 9"),
        ("5 + 4 = 9. Answer: 7", "its answer is 7, its last result 9"),
    ],
)
def test_what_is_wrong_within_a_solution(solution: str, finding: str | None) -> None:
    assert inconsistency(solution) == finding
    assert consistent(solution, {}) == (finding or True)
