"""Solutions: what models wrote to problems; their score, and which of them are good to learn from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from raygen.datasets.equations import final_answer, sound

VALIDATED = 10  # one in this many problems with a kept solution is left to the validation
Z95 = 1.959963984540054  # of the normal distribution, 95% two-sided

# A kept solution.
KEPT = pa.schema(
    [(name, pa.string()) for name in ("solution_id", "problem_id", "problem", "solution")]
    + [("steps", pa.int32())]
)


@dataclass(frozen=True)
class Score:
    """How many problems were answered exactly."""

    problems: int
    right: int
    by_steps: dict[str, tuple[int, int]]  # steps of the problem -> right, problems

    @property
    def accuracy(self) -> float:
        return self.right / self.problems

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.problems)

    def record(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        low, high = self.interval
        return {
            "problems": self.problems, "right": self.right, "accuracy": self.accuracy, "interval95": [low, high],
            "by_steps": {steps: list(each) for steps, each in self.by_steps.items()},
        }  # fmt: skip

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Score:
        by_steps = {steps: (right, problems) for steps, (right, problems) in record["by_steps"].items()}
        return cls(record["problems"], record["right"], by_steps)


def score_of(rows: Iterable[Mapping[str, Any]]) -> Score:
    """Return the score of a run's outcomes: their first samples' final answers. A failed row's answer is wrong."""
    by_steps: dict[str, tuple[int, int]] = {}
    for row in rows:
        right, problems = by_steps.get(str(row["steps"]), (0, 0))
        texts = [sample["text"] for sample in row["samples"][:1]]
        exact = bool(texts) and final_answer(texts[0]) == row["answer"]
        by_steps[str(row["steps"])] = (right + exact, problems + 1)
    right, problems = (sum(each) for each in zip(*by_steps.values(), strict=True)) if by_steps else (0, 0)
    return Score(problems, right, dict(sorted(by_steps.items())))


def wilson(right: int, total: int) -> tuple[float, float]:
    """Return the 95% interval of a share, (0, 1) for none of none.

    Source:
        Wilson 1927, J. Am. Stat. Assoc. 22, 209-212.

    Example:
        >>> low, high = wilson(5, 10)
        >>> round(low, 4), round(high, 4)
        (0.2366, 0.7634)
    """
    if not total:
        return 0.0, 1.0
    share, z2 = right / total, Z95**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z95 / (1 + z2 / total) * (share * (1 - share) / total + z2 / (4 * total**2)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def kept_solutions(rows: Iterable[Mapping[str, Any]], most: int) -> tuple[list[dict[str, Any]], int]:
    """Return the solutions to learn from, as rows of KEPT, and how many samples had the right answer.

    Args:
        rows: a run's outcomes, with the problems' `problem`, `answer` and `steps` kept.
        most: different ones of a problem, at most; the shortest first, because the others wander.
    """
    kept: list[dict[str, Any]] = []
    right = 0
    for row in rows:
        texts = [sample["text"].strip() for sample in row["samples"]]
        exact = [text for text in texts if final_answer(text) == row["answer"]]
        right += len(exact)
        good = sorted(
            {text for text in exact if sound(row["problem"], text)}, key=lambda text: (len(text), text)
        )
        kept += [
            {
                "solution_id": f"{row['row_id']}-{number}", "problem_id": row["row_id"],
                "problem": row["problem"], "solution": text, "steps": row["steps"],
            }
            for number, text in enumerate(good[:most])
        ]  # fmt: skip
    return kept, right


def split_solutions(kept: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return what is learnt and what is left to the validation: of every tenth problem, and of one at least.

    Both are empty when there are not two problems.
    """
    problems = list(dict.fromkeys(row["problem"] for row in kept))
    if len(problems) < 2:
        return [], []
    held = set(problems[::VALIDATED])
    return [row for row in kept if row["problem"] not in held], [
        row for row in kept if row["problem"] in held
    ]
