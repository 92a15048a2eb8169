"""Diverse selection: the farthest first, ties by order, by vectors or by character n-grams."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.steps.scripted import ECHO, NLI, Embedder, Writer, job_of, run, run_with, texts

MODELS = {"writer": ECHO, "nli": NLI, "embedder": Embedder.spec}


def job(count: int, samples: int, **diverse: Any) -> Any:
    generate = {"generate": {"model": "writer", "prompt": "x", "samples": samples}}
    return job_of(generate, {"select": {"diverse": {"count": count, **diverse}}}, models=MODELS)


def test_samples_with_other_words_are_chosen() -> None:
    texts = ["the cat sat", "The  cat sat", "the cat sat down", "quick brown fox", "the cat sits"]
    found = run(job(3, 5), Writer(lambda prompt, n: texts[n]))
    assert [each["number"] for each in found.samples] == [0, 3, 4]
    details = {each["sample"]: each["detail"] for each in found.attempts if each["decision"] == "selected"}
    assert details == {
        0: "the first",
        3: "distance 1 from those before",
        4: "distance 0.455 from those before",
    }
    assert [each["sample"] for each in found.attempts if each["decision"] == "dropped"] == [1, 2]


def test_samples_with_other_meanings_are_chosen() -> None:
    vectors = {"a": [1, 0], "b": [0.9, 0.1], "c": [-1, 0], "d": [0, 1]}
    embedder = Embedder(lambda text: vectors[text])
    writer = Writer(lambda prompt, n: "abcd"[n])
    found = run_with(job(2, 4, model="embedder"), {}, writer=writer, embedder=embedder)
    assert [each["text"] for each in found.samples] == ["a", "c"]
    assert [request.inputs for request in embedder.asked] == [["a", "b", "c", "d"]]
    found = run_with(job(3, 4, model="embedder"), {}, writer=writer, embedder=embedder)
    assert [each["text"] for each in found.samples] == ["a", "c", "d"]


def test_equals_are_chosen_by_order_and_no_more_than_there_are() -> None:
    found = run(job(2, 4), Writer(lambda prompt, n: ["same", "other", "third", "same"][n]))
    assert [each["text"] for each in found.samples] == ["same", "other"]
    assert len(run(job(9, 3), Writer(lambda prompt, n: "same")).samples) == 3
    assert len(run(job(1, 3), Writer(lambda prompt, n: str(n))).samples) == 1


@pytest.mark.parametrize(
    ("diverse", "message"),
    [
        ({"count": 0}, r"steps\.1\.select\.diverse\.count"),
        ({"count": 2, "model": "nli"}, r"steps\.1\.select\.diverse\.model: 'nli' is of family 'classifier', which embeds no"),
        ({"count": 2, "model": "none"}, r"steps\.1\.select\.diverse\.model: no model 'none'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_work(diverse: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job(samples=3, **diverse)


def test_majority_is_the_commonest_answer() -> None:
    generate = {
        "generate": {
            "model": "writer",
            "prompt": "x",
            "samples": 5,
            "answer": {"pattern": r"answer is (\S+)"},
        }
    }
    answers = [
        "the answer is 4",
        "the answer is 5",
        "no idea",
        "the answer is 5.0",
        "answer is 6, no, the answer is 7",
    ]
    found = run(
        job_of(generate, {"select": {"majority": True}}), Writer(lambda prompt, n: answers[n]), text="x"
    )
    assert [(each["text"], each["answer"]) for each in found.samples] == [("the answer is 5", "5")]
    assert found.attempts[-4]["detail"] == "2 of 4 agree"
    assert {each["number"]: each["answer"] for each in found.discarded} == {0: "4", 2: None, 3: "5.0", 4: "7"}


def test_votes_are_neither_rounded_nor_written_out() -> None:
    generate = {"generate": {"model": "writer", "prompt": "x", "samples": 5}}
    answers = ["1e99999999", f"{10**30 + 1}", f"{10**30}", "1e30", "-0"]
    found = run(job_of(generate, {"select": {"majority": True}}), Writer(lambda prompt, n: answers[n]))
    assert (texts(found.samples), found.error) == ([f"{10**30}"], None)


def test_the_best_and_the_first_are_selected_by_score_and_order() -> None:
    generate = {"generate": {"model": "writer", "prompt": "x", "samples": 4}}
    lengths = ["a b", "a b c d", "a", "w x y z"]
    score = {"name": "long", "score": {"length": "words"}}
    writer = Writer(lambda prompt, n: lengths[n])
    assert texts(run(job_of(generate, score, {"select": {"best": "long"}}), writer).samples) == ["a b c d"]
    assert texts(run(job_of(generate, {"select": {"first": 2}}), writer).samples) == ["a b", "a b c d"]
