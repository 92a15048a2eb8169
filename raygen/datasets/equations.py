"""Equations: what a solution to a word problem consists of, and what a written one is worth."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

OPERATIONS = "+-*/"


def calculate(left: int, operation: str, right: int) -> int | None:
    """Return the whole result of one operation (`+`, `-`, `*`, `/`); None when there is none."""
    if operation == "/":
        return left // right if right and left % right == 0 else None
    return {"+": left + right, "-": left - right, "*": left * right}[operation]


_DIGITS = r"\d{1,18}"  # of a number; what is longer is none
_SIGN = r"[-+*/×x÷−]"
_BEGIN, _END = r"(?<![\d.,])", r"(?![.,]?\d)"  # no part of 6.5
# Nor of a chain: of `2 + 3 + 4 = 9` the end alone is not true. What is no equation of two numbers is not judged.
_ALONE = rf"(?<!-)(?<!\d{_SIGN})(?<!\d=)(?<!\d {_SIGN} )(?<!\d = )"
_LAST = rf"(?! ?{_SIGN} ?\d| ?=)"
_EQUATION = re.compile(rf"{_BEGIN}{_ALONE}({_DIGITS}) ?({_SIGN}) ?({_DIGITS}) ?= ?({_DIGITS}){_END}{_LAST}")
_ANSWER = re.compile(r"[Aa]nswer(?: is)?[^\w-]{0,4}(-?\d[\d.,]*)")
_NUMBER = re.compile(rf"{_BEGIN}-?{_DIGITS}{_END}")
_SIGNS = {"×": "*", "x": "*", "÷": "/", "−": "-"}


def form_of(steps: int, largest: int) -> str:
    """Return a regular expression of all solutions of so many true equations, whether they fit a problem or not.

    It is a calculator: a model that is held to it chooses the numbers and the operation, each at most `largest`, and what
    they come to follows.

    Source:
        Cobbe et al. 2021, arXiv:2110.14168, whose calculator writes the result of what a model wrote.

    Example:
        >>> form = form_of(1, 9)
        >>> [bool(re.fullmatch(form, f"{text}. Answer: 4")) for text in ("7 - 3 = 4", "7 - 3 = 5")]
        [True, False]
    """
    lefts = (rf"{left} ({'|'.join(_operations(left, largest))})" for left in range(1, largest + 1))
    return rf"(({'|'.join(lefts)})\. ){{{steps}}}Answer: \d{{1,5}}"


def _operations(left: int, largest: int) -> list[str]:
    """Return a pattern for each operation that a number can begin: `[+] (1 = 5|2 = 6|...)`."""
    found = []
    for operation in OPERATIONS:
        results = ((right, calculate(left, operation, right)) for right in range(1, largest + 1))
        true = [f"{right} = {result}" for right, result in results if result is not None and result >= 0]
        if true:
            found.append(rf"[{operation}] ({'|'.join(true)})")
    return found


def final_answer(text: str) -> int | None:
    """Return the answer that a solution gives: the number behind the last `Answer`, else its last number.

    A model that does not keep to the wanted form is not marked down for it.
    """
    said = [each.rstrip(".,") for each in _ANSWER.findall(text)]
    found = said or _NUMBER.findall(text)
    return int(found[-1]) if found and _NUMBER.fullmatch(found[-1]) else None


def inconsistency(solution: str) -> str | None:
    """Say what is wrong within a solution, whatever the problem was; None if nothing is.

    Each equation has to be true and to go on from the result before it, and the answer has to be the last result.

    Example:
        >>> inconsistency("7 - 3 = 5. Answer: 5")
        '7 - 3 = 5 is not true'
    """
    found = _equations(solution)
    if not found:
        return "it has no equation"
    for left, sign, right, result in found:
        if calculate(left, sign, right) != result:
            return f"{left} {sign} {right} = {result} is not true"
    for before, after in itertools.pairwise(found):
        if after[0] != before[3]:
            return f"it goes on from {after[0]}, not from {before[3]}"
    answer = final_answer(solution)
    return None if answer == found[-1][3] else f"its answer is {answer}, its last result {found[-1][3]}"


def consistent(sample: str, row: Mapping[str, Any]) -> bool | str:
    """Check a solution as a `verify: {python: ...}` step does; what is wrong with it is the finding."""
    return inconsistency(sample) or True


def sound(problem: str, solution: str) -> bool:
    """Do the equations of a solution lead from the problem's numbers to its answer?

    They are consistent; the first number and all second ones are the numbers of the problem, each used once. A right answer
    by two wrongs would teach the wrongs.
    """
    if inconsistency(solution) is not None:
        return False
    found = _equations(solution)
    used = [found[0][0], *(right for _, _, right, _ in found)]
    return sorted(used) == sorted(map(int, _NUMBER.findall(problem)))


def _equations(solution: str) -> list[tuple[int, str, int, int]]:
    """Return the equations in a text: left, operation, right, result."""
    return [
        (int(left), _SIGNS.get(sign, sign), int(right), int(result))
        for left, sign, right, result in _EQUATION.findall(solution)
    ]
