"""Self-improvement: a model samples solutions, learns from those that are right, and does it again (STaR).

Each round asks the model for several solutions of new problems (ordinary raygen runs; later rounds have longer problems),
held to their form by a constraint: one true equation a step, and the answer; which numbers and operations is the model's
affair. It keeps those whose final answer is right and whose equations lead to it, trains a LoRA adapter of the base on all
that were kept so far (an ordinary training), and tests it on problems of held-out stories, where nothing holds it. Only the
known answers judge what is kept: the model learns from its own texts alone. Source: Zelikman et al. 2022, arXiv:2203.14465,
without its rationalisation; that problems grow, and the constraint, are ours.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from raygen.datasets.arithmetic import SHOTS, STEPS, TEST_STORIES, TRAIN_STORIES, make_problems
from raygen.datasets.equations import final_answer, form_of
from raygen.errors import InterruptedRunError, KeyNotFoundError, RaygenError
from raygen.formatting import count
from raygen.improve.course import PLAIN, SHOWN, Course, check, job_of, recipe_of, with_examples
from raygen.improve.directory import COURSE_KEY, FIGURES_KEY
from raygen.improve.solutions import KEPT, Score, kept_solutions, score_of, split_solutions
from raygen.messages import Say, sayer
from raygen.pipeline.progress import make_display
from raygen.pipeline.run import run_job
from raygen.reports.improvement import BASE, BASE_SHOWN, render_page
from raygen.reports.page import REPORT_KEY
from raygen.runs.view import open_run
from raygen.storage import Store, open_store
from raygen.storage.sealed import read_sealed, seal
from raygen.train.driver.claim import claim
from raygen.train.driver.progress import make_train_display

TEST, TEST_SHOWN = "test", "test-with-examples"  # the runs of a round's test


@dataclass
class Round:
    """A round's figures. Round 0 is the base itself."""

    number: int
    score: Score
    problems: int = 0
    samples: int = 0
    right_samples: int = 0
    kept: int = 0
    trained_on: int = 0  # solutions kept in this round and those before it
    seconds: dict[str, float] = field(default_factory=dict)  # of the session that ended the round

    def record(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {**vars(self), "score": self.score.record()}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Round:
        return cls(**{**record, "score": Score.of(record["score"])})


@dataclass(frozen=True)
class Improved:
    """What a self-improvement came to."""

    uri: str
    shown: Score  # the base's, with solved examples in its prompt
    rounds: list[Round]

    @property
    def base(self) -> float:
        """The base's accuracy: the better of its two, without and with examples."""
        return max(self.rounds[0].score.accuracy, self.shown.accuracy)

    @property
    def gain(self) -> float:
        """By how much the last round's accuracy is above the base's."""
        return self.rounds[-1].score.accuracy - self.base


def improve(course: Course, *, inline: bool = False, quiet: bool = True, say: Say | None = None) -> Improved:
    """Do all rounds, or go on where an earlier session stopped; writes report.json and report.html.

    Args:
        inline: sample in this process instead of on Ray; training is on Ray in any case.
        quiet: show no progress of the runs and trainings on standard error.
        say: takes a line for each round, and what it consists of; None: they are logged (messages.py).

    Raises:
        UserError: refused. RunConflictError: the output holds another course.
        RaygenError: no solution was kept, so there is nothing to learn from.
        InterruptedRunError: stopped by the user; the same call resumes.
    """
    from raygen.cluster.connect import connected

    store = open_store(course.output)
    check(course, store)
    claim(store, COURSE_KEY, course.name, course.identity())
    say = say or sayer(run=course.output)
    classroom = _Classroom(course, store, inline, quiet, say)
    with connected():  # once: every round trains on Ray
        first = classroom.round(0)
        shown = classroom.shown()
        say(f"base: {_exact(first.score)}; with {len(SHOTS)} examples in the prompt: {_exact(shown)}")
        rounds = [first]
        for number in range(1, course.rounds + 1):
            rounds.append(classroom.round(number))
            say(_line(rounds[-1]))
    improved = Improved(store.uri, shown, rounds)
    record = report_of(course, improved)
    store.put(FIGURES_KEY, orjson.dumps(record, option=orjson.OPT_INDENT_2))
    store.put(REPORT_KEY, render_page(record, store.uri, _examples(store, rounds)).encode())
    return improved


def report_of(course: Course, improved: Improved) -> dict[str, Any]:
    """Return what report.json holds."""
    return {
        "course": course.model_dump(mode="json"),
        "base": {"plain": improved.rounds[0].score.record(), "with_examples": improved.shown.record()},
        "rounds": [each.record() for each in improved.rounds[1:]],
        "base_accuracy": improved.base,
        "gain_points": 100 * improved.gain,
    }


class _Classroom:
    """The rounds' work. What is finished is read again, not done again."""

    def __init__(self, course: Course, store: Store, inline: bool, quiet: bool, say: Say) -> None:
        self._course = course
        self._store = store
        self._inline = inline
        self._quiet = quiet
        self._say = say

    def round(self, number: int) -> Round:
        key = f"round-{number}/round.json"
        with contextlib.suppress(KeyNotFoundError):
            return Round.of(read_sealed(self._store, key))
        found = self._round(number) if number else Round(0, self._test(0))
        self._store.put(key, seal(found.record()))
        return found

    def _round(self, number: int) -> Round:
        course, where = self._course, f"round-{number}"
        began_s = time.monotonic()
        sampling = {"temperature": course.temperature, "max_tokens": course.max_tokens}
        # The base needs to see what is wanted; later models know it.
        ask, samples = (SHOWN, course.first_samples) if number == 1 else (PLAIN, course.samples)
        rows: list[dict[str, Any]] = []
        for steps, amount in course.lengths(number).items():
            problems = self._problems(f"{where}/problems-{steps}.parquet", amount, number, (steps, steps))
            # One equation a step: a model that knows short solutions only would stop early for ever. All are true: it would
            # hardly ever get a difference right, and so never learn one.
            rows += self._generate(
                f"{where}/sample-{steps}",
                problems,
                ask,
                sampling,
                number - 1,
                samples,
                form_of(steps, course.largest),
            )
        kept, right = kept_solutions(rows, course.keep)
        self._write(f"{where}/kept.parquet", pa.Table.from_pylist(kept, KEPT))
        sampled_s = time.monotonic()
        everything = [
            row for each in range(1, number + 1) for row in self._read(f"round-{each}/kept.parquet")
        ]
        learnt, validated = split_solutions(everything)
        if not learnt:
            raise RaygenError(
                f"{self._store.uri_of(where)}: of {len(rows)} problems, too few have a right solution to learn from: "
                "take more problems or samples, or a smaller `largest`"
            )
        self._write(f"{where}/learn.parquet", pa.Table.from_pylist(learnt, KEPT))
        self._write(f"{where}/validate.parquet", pa.Table.from_pylist(validated, KEPT))
        self._say(f"round {number}: kept {count(len(kept), 'solution')}; learning from {len(learnt)}")
        self._train(where)
        trained_s = time.monotonic()
        score = self._test(number)
        seconds = {
            "sample": sampled_s - began_s, "train": trained_s - sampled_s, "test": time.monotonic() - trained_s,
        }  # fmt: skip
        return Round(
            number, score, len(rows), len(rows) * samples, right, len(kept), len(everything), seconds
        )

    def shown(self) -> Score:
        """Test the base with solved examples in its prompt: what it can do once it knows what is wanted."""
        return self._test(0, TEST_SHOWN, SHOWN)

    def _test(self, number: int, name: str = TEST, ask: Mapping[str, str] | None = None) -> Score:
        problems = self._problems("test.parquet", self._course.test_problems, None, STEPS)
        sampling = {"temperature": 0.0, "max_tokens": self._course.max_tokens}
        return score_of(self._generate(f"round-{number}/{name}", problems, ask or PLAIN, sampling, number, 1))

    def _generate(
        self,
        where: str,
        source: str,
        ask: Mapping[str, str],
        sampling: dict[str, Any],
        model: int,
        samples: int,
        form: str | None = None,
    ) -> list[dict[str, Any]]:
        """Run a job with the base (model 0) or the adapter of a round, and return its outcomes."""
        adapter = self._store.uri_of(f"round-{model}/train/model") if model else None
        job = job_of(self._course, self._store, where, source, ask, sampling, samples, adapter, form)
        display = make_display(self._quiet)
        if run_job(job, inline=self._inline, display=display, say=self._say).state != "finished":
            raise InterruptedRunError(f"stopped in {where}; run the same command again to resume")
        return outcomes_of(self._store.uri_of(where))

    def _train(self, where: str) -> None:
        from raygen.train.run import train

        result = train(
            recipe_of(self._course, self._store, where),
            display=make_train_display(self._quiet),
            say=self._say,
        )
        if result.model is None:
            raise InterruptedRunError(f"stopped in {where}/train; run the same command again to resume")

    def _problems(self, key: str, amount: int, number: int | None, steps: tuple[int, int]) -> str:
        """Write a round's problems, or those of all tests, unless they are there; returns the key."""
        course = self._course
        if not self._store.exists(key):
            stories, prefix = (
                (TEST_STORIES, "test") if number is None else (TRAIN_STORIES, f"round{number}-{steps[1]}")
            )
            made = make_problems(amount, stories, prefix, course.seed, course.largest, steps)
            asked = (with_examples(text, steps[1]) for text in made.column("problem").to_pylist())
            messages = [orjson.dumps(each).decode() for each in asked]
            self._write(key, made.append_column("messages", pa.array(messages)))
        return key

    def _write(self, key: str, table: pa.Table) -> None:
        """Write a table, unless it is there: what was made from it must stay what it was."""
        if not self._store.exists(key):
            sink = io.BytesIO()
            pq.write_table(table, sink)
            self._store.put(key, sink.getvalue())

    def _read(self, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = pq.read_table(io.BytesIO(self._store.get(key))).to_pylist()
        return found


def _examples(store: Store, rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Return the first test problem of each number of steps, with what every model wrote."""
    tests = {BASE: f"round-0/{TEST}", BASE_SHOWN: f"round-0/{TEST_SHOWN}"}
    tests |= {f"Round {each.number}": f"round-{each.number}/{TEST}" for each in rounds[1:]}
    found: dict[int, dict[str, Any]] = {}
    for name, where in tests.items():
        for row in outcomes_of(store.uri_of(where)):
            first = found.setdefault(row["steps"], {**row, "solutions": []})
            if row["row_id"] == first["row_id"]:
                text = row["samples"][0]["text"] if row["samples"] else "(failed)"
                first["solutions"].append((name, text, final_answer(text) == row["answer"]))
    return [found[steps] for steps in sorted(found)]


def outcomes_of(uri: str) -> list[dict[str, Any]]:
    """Return a finished run's outcomes, in the order of its rows."""
    return [row for table in open_run(uri).tables() for row in table.to_pylist()]


def _exact(score: Score) -> str:
    low, high = score.interval
    return (
        f"{100 * score.accuracy:.1f}% of {score.problems} held-out problems exact "
        f"(95%: {100 * low:.1f} to {100 * high:.1f})"
    )


def _line(found: Round) -> str:
    seconds = ", ".join(f"{name} {duration:,.0f} s" for name, duration in found.seconds.items())
    return (
        f"round {found.number}: {_exact(found.score)}; of {found.samples:,} samples {found.right_samples:,} right, "
        f"{found.kept:,} kept; {seconds}"
    )
