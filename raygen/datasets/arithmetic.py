"""Arithmetic: word problems of several steps with known answers.

A problem tells a story: a number of things, then a few changes of it, its steps. The stories for tests share no noun, no
verb phrase and no question with those for training; the operations and the numbers are of the same kind.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raygen.datasets.equations import calculate
from raygen.errors import ConfigError

STEPS = (2, 4)  # of a test's problems, from and to
MOST_ADDED = 9  # or taken away, in one step
OFTEN = {"+": 4, "-": 4, "*": 2, "/": 1}
SCHEMA = pa.schema(
    [
        ("problem_id", pa.string()),  # such as `train-00001`
        ("problem", pa.string()),
        ("answer", pa.int64()),
        ("steps", pa.int32()),
        ("story", pa.string()),
        ("equations", pa.string()),  # how the answer comes about, such as `3 + 4 = 7. 7 * 2 = 14.`
    ]
)


@dataclass(frozen=True, slots=True)
class Story:
    """Sentences around numbers. `{n}` is the number of a sentence, `{who}` a name, `{things}` what is counted."""

    name: str
    things: tuple[str, ...]
    opening: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    times: tuple[str, ...]
    divided: tuple[str, ...]
    question: str

    def sentences(self, operation: str) -> tuple[str, ...]:
        return {"+": self.plus, "-": self.minus, "*": self.times, "/": self.divided}[operation]


NAMES = ("Ana", "Ben", "Carla", "Dan", "Emma", "Finn", "Grace", "Hugo", "Iris", "Jack", "Kim", "Leo")

TRAIN_STORIES = (
    Story(
        "orchard", ("apples", "pears", "plums"), "{who} has {n} {things}.",
        ("{who} picks {n} more {things}.", "{who} finds {n} more {things}."),
        ("{who} eats {n} {things}.", "{who} gives away {n} {things}."),
        ("Then {who} has {n} times as many {things}.",),
        ("{who} divides the {things} into {n} equal baskets and keeps one basket.",),
        "How many {things} does {who} have now?",
    ),
    Story(
        "shelf", ("books", "comics"), "{who} owns {n} {things}.",
        ("{who} buys {n} more {things}.", "{who} gets {n} new {things}."),
        ("{who} sells {n} {things}.", "{who} loses {n} {things}."),
        ("A year later {who} owns {n} times as many {things}.",),
        ("{who} splits the {things} equally over {n} shelves and keeps one shelf.",),
        "How many {things} does {who} own now?",
    ),
    Story(
        "bakery", ("rolls", "muffins", "buns"), "{who} bakes {n} {things}.",
        ("{who} bakes {n} more {things}.", "{who} adds {n} {things}."),
        ("{who} drops {n} {things}.", "Customers buy {n} {things}."),
        ("{who} makes it {n} times as many {things}.",),
        ("{who} packs the {things} into {n} equal boxes and takes one box.",),
        "How many {things} are there now?",
    ),
    Story(
        "game", ("points", "chips"), "{who} starts with {n} {things}.",
        ("{who} wins {n} {things}.", "{who} earns {n} more {things}."),
        ("{who} is fined {n} {things}.", "A mistake costs {who} {n} {things}."),
        ("A good card multiplies the {things} by {n}.",),
        ("A bad card divides the {things} by {n}.",),
        "How many {things} does {who} end with?",
    ),
    Story(
        "purse", ("coins", "dollars"), "{who} saves {n} {things}.",
        ("{who} saves {n} more {things}.", "{who} is given {n} {things}."),
        ("{who} spends {n} {things}.", "{who} pays {n} {things}."),
        ("An uncle makes it {n} times as many {things}.",),
        ("{who} shares the {things} equally among {n} friends, and one share is left.",),
        "How many {things} are left?",
    ),
    Story(
        "aquarium", ("fish", "snails"), "{who} keeps {n} {things}.",
        ("{who} puts in {n} more {things}.", "{n} young {things} hatch."),
        ("{who} takes out {n} {things}.", "{n} {things} die."),
        ("In spring there are {n} times as many {things}.",),
        ("{who} puts the {things} equally into {n} tanks and looks at one tank.",),
        "How many {things} are in the tank?",
    ),
)  # fmt: skip

TEST_STORIES = (
    Story(
        "car park", ("cars", "vans"), "There are {n} {things} in the car park.",
        ("{n} {things} drive in.", "{n} more {things} arrive."),
        ("{n} {things} drive off.", "{who} sees {n} {things} leave."),
        ("At noon the car park holds {n} times as many {things}.",),
        ("{who} spreads the {things} equally over {n} levels and stays on one level.",),
        "How many {things} does {who} see in the end?",
    ),
    Story(
        "garden", ("roses", "tulips"), "{who} plants {n} {things}.",
        ("{who} plants {n} more {things}.", "{n} new {things} come up."),
        ("{who} cuts {n} {things}.", "{n} {things} wither."),
        ("Next year {n} times as many {things} bloom.",),
        ("{who} moves the {things} into {n} equal beds and waters one bed.",),
        "How many {things} bloom for {who}?",
    ),
    Story(
        "train", ("passengers", "tourists"), "A train carries {n} {things}.",
        ("{n} {things} get on.", "{who} lets {n} more {things} on."),
        ("{n} {things} get off.", "{who} sends {n} {things} out."),
        ("After the border the train carries {n} times as many {things}.",),
        ("The {things} sit down equally in {n} wagons, and {who} checks one wagon.",),
        "How many {things} travel with {who}?",
    ),
)  # fmt: skip

# Solved examples for a prompt: what a solution looks like. Of none of the stories; one of each operation first, because a
# small model that has seen only one form, or one operation, seldom keeps to it.
SHOTS = (
    (
        "Sam has 6 marbles. Sam finds 5 more marbles. How many marbles does Sam have?",
        "6 + 5 = 11. Answer: 11",
    ),
    (
        "Tom has 15 balls. Tom throws away 8 balls. How many balls does Tom have?",
        "15 - 8 = 7. Answer: 7",
    ),
    (
        "There are 3 hens in a shed. Soon there are 4 times as many hens. How many hens are there?",
        "3 * 4 = 12. Answer: 12",
    ),
    (
        "Lily strings 18 beads. Lily cuts the beads into 2 equal parts and keeps one part. How many beads does Lily have?",
        "18 / 2 = 9. Answer: 9",
    ),
    (
        "Max collects 9 stamps. Max burns 3 stamps. How many stamps does Max have?",
        "9 - 3 = 6. Answer: 6",
    ),
    (
        "Tom has 5 balls. Tom gets 4 more balls. Tom throws away 3 balls. How many balls does Tom have?",
        "5 + 4 = 9. 9 - 3 = 6. Answer: 6",
    ),
    (
        "There are 12 hens in a shed. A fox takes 2 hens. Soon there are 2 times as many hens. How many hens are there?",
        "12 - 2 = 10. 10 * 2 = 20. Answer: 20",
    ),
    (
        "Lily strings 12 beads. Lily strings 4 more beads. Lily cuts the beads into 2 equal parts and keeps one part. "
        "Lily strings 5 beads. How many beads does Lily have?",
        "12 + 4 = 16. 16 / 2 = 8. 8 + 5 = 13. Answer: 13",
    ),
    (
        "Max collects 9 stamps. Max tears 2 stamps. Max trades for 6 stamps. Max burns 3 stamps. Max inherits 4 stamps. "
        "How many stamps does Max have?",
        "9 - 2 = 7. 7 + 6 = 13. 13 - 3 = 10. 10 + 4 = 14. Answer: 14",
    ),
)


def make_problems(
    count: int,
    stories: Sequence[Story],
    prefix: str,
    seed: int,
    largest: int = 40,
    steps: tuple[int, int] = STEPS,
) -> pa.Table:
    """Return `count` different problems, as many of each number of steps as goes, in the schema SCHEMA.

    Args:
        prefix: begins the ids, such as `train`.
        seed: the same arguments give the same problems, on every machine.
        largest: no number in a problem or its solution is larger; at least 10.
        steps: the fewest and the most of a problem.

    Raises:
        ConfigError: there are not that many problems, or `largest` is too small for any.
    """
    if largest < 10:
        raise ConfigError(f"largest is {largest}: problems need numbers up to 10 at least")
    dice = random.Random(f"{prefix} {seed}")
    rows: dict[str, dict[str, object]] = {}  # by the problem's text
    for number in range(count):
        for _ in range(1000):
            row = _problem(dice, steps[0] + number % (steps[1] - steps[0] + 1), stories, largest)
            if row["problem"] not in rows:
                break
        else:
            raise ConfigError(
                f"{count} problems of numbers up to {largest}: only {len(rows)} different ones were found; ask for fewer"
            )
        rows[str(row["problem"])] = {"problem_id": f"{prefix}-{number + 1:05d}", **row}
    return pa.Table.from_pylist(list(rows.values()), SCHEMA)


def write_problems(path: str | Path, problems: pa.Table) -> None:
    """Write problems as Parquet; the file's folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(problems, path)


def _problem(dice: random.Random, steps: int, stories: Sequence[Story], largest: int) -> dict[str, object]:
    story = dice.choice(stories)
    who, things = dice.choice(NAMES), dice.choice(story.things)
    value = dice.randint(3, largest * 3 // 4)
    sentences = [story.opening.format(n=value, who=who, things=things)]
    equations = []
    for _ in range(steps):
        operation, operand = _change(dice, value, largest)
        sentence = dice.choice(story.sentences(operation))
        sentences.append(sentence.format(n=operand, who=who, things=things))
        result = calculate(value, operation, operand)
        assert result is not None
        equations.append(f"{value} {operation} {operand} = {result}.")
        value = result
    sentences.append(story.question.format(who=who, things=things))
    return {
        "problem": " ".join(sentences), "answer": value, "steps": steps, "story": story.name,
        "equations": " ".join(equations),
    }  # fmt: skip


def _change(dice: random.Random, value: int, largest: int) -> tuple[str, int]:
    """Choose what happens to `value`, so that it stays whole, above 1 and within `largest`."""
    more, less = min(largest - value, MOST_ADDED), min(value - 2, MOST_ADDED)
    ways: dict[str, list[int]] = {
        "+": list(range(2, more + 1)),
        "-": list(range(2, less + 1)),
        "*": [n for n in (2, 3) if value * n <= largest],
        "/": [n for n in (2, 3) if value % n == 0 and value // n >= 2],
    }
    possible = [operation for operation, operands in ways.items() if operands]
    operation = dice.choices(possible, [OFTEN[each] for each in possible])[0]
    return operation, dice.choice(ways[operation])
