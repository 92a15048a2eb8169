"""The python step: what it returns is checked, and what it raises fails its row."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from raygen.data.sources.base import SourcePlan
from raygen.errors import ConfigError
from raygen.program.job import Job
from raygen.program.program import Program
from tests.steps.scripted import Writer, job_of, run, story

GENERATE = {"generate": {"model": "writer", "prompt": "{{ text }}", "samples": 3}}
WORDS = Writer(lambda prompt, n: ["one", "two two", "three"][n])

_returned: Callable[[dict[str, Any], list[dict[str, Any]]], Any]


def step(row: dict[str, Any], samples: list[dict[str, Any]]) -> Any:
    return _returned(row, samples)


def python(**config: Any) -> dict[str, Any]:
    return {"python": {"function": f"{__name__}:step", **config}}


def returning(found: Any) -> None:
    global _returned
    _returned = found if callable(found) else lambda row, samples: found


def test_it_writes_variables_scores_and_rejections() -> None:
    seen = []

    def look(row: dict[str, Any], samples: list[dict[str, Any]]) -> dict[str, Any]:
        seen.append((row, [(each["number"], each["text"]) for each in samples], threading.current_thread()))
        return {
            "variables": {"count": len(samples), "names": ["a"]},
            "scores": {each["number"]: {"size": len(each["text"])} for each in samples},
            "rejected": {2: "too plain"},
        }

    returning(look)
    later = {"generate": {"model": "other", "prompt": "{{ count + 1 }} {{ names[0] }}"}}
    best = {"select": {"best": "size"}}
    config = {"writes": ["count", "names"], "scores": ["size"], "reads": ["text"]}
    found = run(job_of(GENERATE, python(**config), best), WORDS, text="x")
    assert seen[0][:2] == ({"text": "x"}, [(0, "one"), (1, "two two"), (2, "three")])
    assert seen[0][2] is not threading.main_thread()
    assert [(each["text"], each["scores"]) for each in found.samples] == [("two two", {"size": 7.0})]
    assert found.variables == {"count": "3", "names": "['a']"}
    decided = [each for each in found.attempts if each["step"] == "python"]
    assert [(each["sample"], each["decision"], each["detail"]) for each in decided] == [
        (None, "done", "wrote count, names"),
        (0, "scored", None),
        (1, "scored", None),
        (2, "step_rejected", "too plain"),
    ]
    writer = Writer(lambda prompt, n: "one")
    run(job_of(GENERATE, python(**config), later), writer, text="x")
    assert writer.prompts[-1] == "4 a"


def test_it_may_reject_all_samples_or_do_nothing() -> None:
    returning({"rejected": {0: "no", 1: "no", 2: "never"}})
    found = run(job_of(GENERATE, python(), {"select": {"first": 1}}), WORDS, text="x")
    assert (found.status, found.reason) == ("rejected", "step_rejected")
    assert story(found)[-1] == ("python", 2, "step_rejected")
    returning(None)
    found = run(job_of(GENERATE, python()), WORDS, text="x")
    assert (found.status, len(found.samples)) == ("accepted", 3)


def test_it_may_stand_before_the_first_generate() -> None:
    returning(lambda row, samples: {"variables": {"topic": row["text"].upper() + str(len(samples))}})
    writer = Writer(lambda prompt, n: "fine")
    generate = {"generate": {"model": "writer", "prompt": "About {{ topic }}"}}
    found = run(job_of(python(writes=["topic"], reads=["text"]), generate), writer, text="rain")
    assert writer.prompts == ["About RAIN0"]
    assert (found.status, found.variables) == ("accepted", {"topic": "RAIN0"})


def test_what_it_changes_in_its_arguments_changes_nothing() -> None:
    def spoil(row: dict[str, Any], samples: list[dict[str, Any]]) -> None:
        row["parts"].append("spoilt")
        samples[0]["scores"]["size"] = 1.0
        samples.clear()

    returning(spoil)
    row: dict[str, Any] = {"text": "x", "parts": ["whole"]}
    found = run(job_of(GENERATE, python()), WORDS, **row)
    assert row["parts"] == ["whole"]
    assert [each["scores"] for each in found.samples] == [{}, {}, {}]


def broken(row: dict[str, Any], samples: list[dict[str, Any]]) -> None:
    raise KeyError("here")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def mute(row: dict[str, Any], samples: list[dict[str, Any]]) -> None:
    raise Mute


def half(row: dict[str, Any], samples: list[dict[str, Any]]) -> None:
    raise ValueError("\ud800")


def leaving(row: dict[str, Any], samples: list[dict[str, Any]]) -> None:
    sys.exit("enough")


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (broken, "step: KeyError: 'here'"),
        (leaving, "step: SystemExit: enough"),
        (mute, "step: Mute: .it cannot say"),
        (half, r"step: ValueError: \\ud800"),
        (7, "what it returned: Input should be .*dict"),
        ({"variable": {}}, "variable: Extra inputs are not permitted"),
        ({"variables": {"count": object()}}, "variables.count"),
        ({"variables": {"count": float("nan")}}, "variables.count"),
        ({"variables": {"count": 10**5000}}, "variables.count"),
        ({"variables": {"other": 1}}, "returned variable 'other'; variables: count"),
        ({"scores": {0: {"other": 1.0}}}, "returned score 'other'; scores: size"),
        ({"scores": {0: {"size": "1"}}}, "scores.0.size: Input should be a valid number"),
        ({"scores": {0: {"size": float("inf")}}}, "scores.0.size"),
        ({"scores": {0: {"size": 2**53 + 1}}}, "scores.0.size: .*no double holds"),
        ({"scores": {0: {"size": 10**400}}}, "scores.0.size: .*no double holds"),
        ({"scores": {9: {"size": 1.0}}}, "returned sample 9; samples: 0, 1, 2"),
        ({"scores": {0: {"size": 1}, 1: {}}, "rejected": {2: "x"}}, "gave sample 1 no score size"),
        ({"rejected": {3: "x"}}, "returned sample 3; samples: 0, 1, 2"),
        ({"rejected": {0: True}}, "rejected.0: Input should be a valid string"),
        ({"rejected": [0]}, "rejected: Input should be a valid dict"),
    ],
)
def test_what_it_may_not_return_fails_the_row(returned: Any, message: str) -> None:
    returning(returned)
    found = run(job_of(GENERATE, python(writes=["count"], scores=["size"])), WORDS, text="x")
    assert found.error is not None
    assert (found.error["code"], found.error["step"]) == ("step_error", "python")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found.error["message"])


@pytest.mark.parametrize("function", ["tests.steps.test_python:nothing", "no.such.module:step"])
def test_what_cannot_be_imported_is_refused_before_work(function: str) -> None:
    with pytest.raises(ConfigError, match=r"steps\.1\.python\.function: .* cannot be imported"):
        Program(job_of(GENERATE, {"python": {"function": function}}))


@pytest.mark.parametrize("text", ["def step(:", "1 / 0", "raise SystemExit(0)"])
def test_so_is_a_module_that_breaks_or_leaves_when_it_is_imported(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaking_step.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"steps\.1\.python\.function: .* cannot be imported"):
        Program(job_of(GENERATE, {"python": {"function": "breaking_step:step"}}))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([GENERATE, {"python": {"function": "os"}}], r"steps\.1\.python\.function"),
        ([GENERATE, python(writes=["a b"])], r"steps\.1\.python\.writes"),
        ([GENERATE, python(), {"select": {"best": "size"}}], r"steps\.2\.select\.best: no step before it gives a score 'size'"),
        ([python()], "there is no `generate` among them"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(steps: list, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job_of(*steps)


def columns(job: Job, *names: str) -> list[str]:
    program = Program(job)
    program.check_columns(SourcePlan([], [], dict.fromkeys(names, pa.string()), False))
    return program.columns


def test_it_says_what_it_reads_and_writes() -> None:
    later = {"generate": {"model": "writer", "prompt": "{{ count }}"}}
    assert columns(job_of(python(writes=["count"], reads=["text"]), later), "text", "more") == ["text"]
    with pytest.raises(ConfigError, match=r"steps\.0\.python\.reads: the source has no column 'text'"):
        columns(job_of(python(reads=["text"]), GENERATE), "body")
    with pytest.raises(ConfigError, match="the source has a column 'count' already"):
        columns(job_of(GENERATE, python(writes=["count"])), "text", "count")
