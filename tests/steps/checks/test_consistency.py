"""Consistency: sentences of a sample, sentences against a text, samples among each other."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from raygen.engines.requests import ClassifyRequest, ClassifyResult
from raygen.errors import ConfigError
from raygen.program.program import Program
from raygen.steps.checks.consistency import newest_first, ring
from tests.steps.scripted import Judge, Writer, job_of, run

GENERATE = {"generate": {"model": "writer", "prompt": "{{ text }}"}}
DOOR = "The door was open. Ann came in. The door was shut."


class Opposites(Judge):
    """`open` and `shut` contradict each other with the given probability; all else with 0.1."""

    def __init__(self, chance: float = 0.9) -> None:
        super().__init__(lambda premise, hypothesis: 0.0)
        self._against = chance

    async def classify(self, request: ClassifyRequest) -> ClassifyResult:
        self.asked.append(request)
        found = []
        for one, other in request.texts:
            opposed = ("open" in one and "shut" in other) or ("shut" in one and "open" in other)
            chance = self._against if opposed else 0.1
            found.append({"entailment": 0.0, "neutral": 1 - chance, "contradiction": chance})
        return ClassifyResult(found, np.zeros((len(found), 3), np.float32), 7)


def checked(**consistency: object) -> dict:
    return {"verify": {"consistency": {"model": "nli", **consistency}}}


def test_a_sample_that_contradicts_itself_is_rejected_with_both_sentences() -> None:
    nli = Opposites()
    found = run(job_of(GENERATE, checked()), Writer(lambda prompt, n: DOOR), nli, text="x")
    assert (found.status, found.reason) == ("rejected", "inconsistent")
    assert found.attempts[-1]["detail"] == (
        '"The door was open." and "The door was shut." contradict each other (contradiction: 90%)'
    )
    assert found.attempts[-1]["scores"] == {"contradiction": 0.9, "pairs": 3.0}
    assert found.samples[0]["scores"]["verify"] == pytest.approx(0.1)
    assert [request.texts for request in nli.asked] == [
        [
            ("Ann came in.", "The door was shut."),
            ("The door was open.", "The door was shut."),
            ("The door was open.", "Ann came in."),
        ]
    ]


@pytest.mark.parametrize(("chance", "status"), [(0.7, "rejected"), (0.69, "accepted")])
def test_the_threshold_decides(chance: float, status: str) -> None:
    job = job_of(GENERATE, checked(threshold=0.7))
    assert run(job, Writer(lambda prompt, n: DOOR), Opposites(chance), text="x").status == status


def test_all_samples_are_asked_about_in_one_batch_and_keep_their_own_findings() -> None:
    generate = {"generate": {**GENERATE["generate"], "samples": 3}}
    texts = ["It rained. All was well.", "It is open. It is shut.", "One sentence."]
    nli = Opposites()
    found = run(job_of(generate, checked()), Writer(lambda prompt, n: texts[n]), nli, text="x")
    assert [len(request.texts) for request in nli.asked] == [2]
    assert [each["number"] for each in found.samples] == [0, 2]
    assert found.samples[1]["scores"] == {"verify": 1.0}
    assert [each["number"] for each in found.discarded] == [1]


def test_sentences_are_held_against_a_text_that_came_before() -> None:
    nli = Opposites()
    job = job_of(GENERATE, checked(against="{{ story }}"))
    found = run(
        job, Writer(lambda prompt, n: "It was shut."), nli, text="x", story="The door was open. It rained."
    )
    assert nli.asked[0].texts == [
        ("It rained.", "It was shut."),
        ("The door was open.", "It was shut."),
    ]  # never the story's own sentences with each other
    assert found.reason == "inconsistent"


def test_the_newest_sentence_is_looked_at_first_and_a_bound_is_told() -> None:
    nli = Opposites(0.0)
    job = job_of(GENERATE, checked(most_pairs=2, against="{{ story }}"))
    found = run(job, Writer(lambda prompt, n: "Two. Three."), nli, text="x", story="Zero. One.")
    assert nli.asked[0].texts == [("Two.", "Three."), ("One.", "Three.")]
    assert found.attempts[-1]["detail"] == "only the 2 newest of 5 pairs of sentences were looked at"


def test_a_sentence_that_comes_twice_does_not_contradict_itself() -> None:
    nli = Opposites()
    found = run(job_of(GENERATE, checked()), Writer(lambda prompt, n: "So it is. So it is."), nli, text="x")
    assert (found.status, nli.asked) == ("accepted", [])
    assert found.samples[0]["scores"] == {"verify": 1.0}


def test_a_sample_that_contradicts_most_others_is_rejected() -> None:
    generate = {"generate": {**GENERATE["generate"], "samples": 4}}
    texts = ["It is open.", "It is open, yes.", "It is shut.", "Who knows."]
    nli = Opposites(0.8)
    found = run(job_of(generate, checked(of="samples")), Writer(lambda prompt, n: texts[n]), nli, text="x")
    assert [each["number"] for each in found.samples] == [0, 1, 3]
    rejected = next(each for each in found.attempts if each["decision"] == "inconsistent")
    assert rejected["sample"] == 2
    assert "so do 2 of the 3 other samples" in rejected["detail"]
    assert rejected["scores"] == {"contradiction": 0.8, "others": 3.0, "contradicted": 2.0}
    assert len(nli.asked) == 1
    assert len(nli.asked[0].texts) == 6
    scores = [each["scores"]["verify"] for each in found.samples]
    assert scores == pytest.approx([1 - 1.0 / 3, 1 - 1.0 / 3, 0.9])


def test_a_claim_may_be_a_part_of_the_sample() -> None:
    generate = {"generate": {**GENERATE["generate"], "samples": 2, "answer": {"pattern": r"is (\w+)\.$"}}}
    texts = ["shut? It is open.", "It is shut."]
    nli = Opposites()
    job = job_of(generate, checked(of="samples", claim="It is {{ answer }}"))
    found = run(job, Writer(lambda prompt, n: texts[n]), nli, text="x")
    assert nli.asked[0].texts == [("It is open", "It is shut")]
    assert found.reason == "inconsistent"


def test_pairs_are_chosen_by_their_place() -> None:
    assert list(newest_first("abc", 0)) == [(1, 2), (0, 2), (0, 1)]
    assert list(newest_first("abcd", 2)) == [(2, 3), (1, 3), (0, 3), (1, 2), (0, 2)]


@pytest.mark.parametrize("count", range(9))
@pytest.mark.parametrize("most", [1, 8, 20, 1000])
def test_each_sample_is_compared_with_about_as_many_others(count: int, most: int) -> None:
    pairs = ring(count, most)
    assert len(set(pairs)) == len(pairs) <= max(most, count)
    assert all(lower < higher for lower, higher in pairs)
    each = [sum(number in pair for pair in pairs) for number in range(count)]
    assert not each or max(each) - min(each) <= 1
    assert count < 2 or min(each) >= min(2, count - 1)
    if most >= count * count:
        assert len(pairs) == count * (count - 1) // 2


@pytest.mark.parametrize(
    ("consistency", "message"),
    [
        ({"model": "writer"}, r"steps\.1\.verify\.consistency\.model: 'writer' is of family 'causal_lm'"),
        ({"threshold": 1.01}, r"steps\.1\.verify\.consistency\.threshold"),
        ({"of": "words"}, r"steps\.1\.verify\.consistency\.of"),
        ({"of": "samples", "against": "{{ text }}"}, "`against` goes with `of: sentences`"),
        ({"most_pairs": 0}, r"steps\.1\.verify\.consistency\.most_pairs"),
    ],
)
def test_what_cannot_be_is_refused_before_work(consistency: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job_of(GENERATE, checked(**consistency))


def test_a_template_that_does_not_parse_names_its_step() -> None:
    with pytest.raises(ConfigError, match=r"steps\.1\.verify\.consistency\.against: line 1"):
        Program(job_of(GENERATE, checked(against="{{ story")))
