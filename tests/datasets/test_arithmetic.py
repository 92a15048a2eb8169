from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raygen.datasets.arithmetic import (
    SHOTS,
    TEST_STORIES,
    TRAIN_STORIES,
    Story,
    make_problems,
    write_problems,
)
from raygen.datasets.equations import sound
from raygen.errors import ConfigError

PINNED = (
    "Kim plants 10 roses. Next year 2 times as many roses bloom. Kim moves the "
    "roses into 2 equal beds and waters one bed. How many roses bloom for Kim?"
)


def templates(stories: tuple[Story, ...]) -> set[str]:
    return {
        text
        for story in stories
        for text in (
            story.opening,
            story.question,
            *story.plus,
            *story.minus,
            *story.times,
            *story.divided,
        )
    }


def test_problems_are_different_and_their_answers_right() -> None:
    rows = make_problems(300, TRAIN_STORIES, "train", seed=3, largest=20).to_pylist()
    assert len({row["problem"] for row in rows}) == 300
    assert [row["problem_id"] for row in rows[:2]] == ["train-00001", "train-00002"]
    assert {row["story"] for row in rows} == {story.name for story in TRAIN_STORIES}
    for row in rows:
        assert "{" not in row["problem"]
        numbers = [int(number) for number in re.findall(r"\d+", row["problem"])]
        assert len(numbers) == row["steps"] + 1
        value = numbers[0]
        found = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)\.", row["equations"])
        for number, (left, sign, right, result) in zip(numbers[1:], found, strict=True):
            assert (int(left), int(right)) == (value, number)
            value = {"+": value + number, "-": value - number, "*": value * number, "/": value / number}[sign]
            assert value == int(result) <= 20
        assert row["answer"] == value > 1
        assert sound(row["problem"], f"{row['equations']} Answer: {row['answer']}")
    steps = [row["steps"] for row in rows]
    assert [steps.count(n) for n in (2, 3, 4)] == [100, 100, 100]


def test_the_seed_decides() -> None:
    first = make_problems(50, TEST_STORIES, "test", seed=1)
    assert first.equals(make_problems(50, TEST_STORIES, "test", seed=1))
    assert not first.equals(make_problems(50, TEST_STORIES, "test", seed=2))
    # Pinned: another version or machine makes the same ones, or a course could not be resumed there.
    assert first.column("problem")[0].as_py() == PINNED


def test_stories_for_tests_share_nothing_with_those_for_training() -> None:
    assert not templates(TRAIN_STORIES) & templates(TEST_STORIES)
    train, test = (
        {thing for story in each for thing in story.things} for each in (TRAIN_STORIES, TEST_STORIES)
    )
    assert not train & test
    for stories in (TRAIN_STORIES, TEST_STORIES):
        assert len({story.name for story in stories}) == len(stories)
        for shot, _ in SHOTS:
            assert not any(thing in shot for story in stories for thing in story.things)


def test_too_many_problems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raygen.datasets.arithmetic.NAMES", ("Al",))
    with pytest.raises(ConfigError, match=r"9000 problems of numbers up to 10: only \d+ different ones"):
        make_problems(9000, TEST_STORIES[2:], "test", seed=1, largest=10)
    with pytest.raises(ConfigError, match="largest is 9"):
        make_problems(1, TEST_STORIES, "test", seed=1, largest=9)


def test_written_problems_come_back(tmp_path: Path) -> None:
    made = make_problems(5, TEST_STORIES, "test", seed=1)
    write_problems(tmp_path / "deep" / "p.parquet", made)
    assert pq.read_table(tmp_path / "deep" / "p.parquet").equals(made)
