"""Programs of several steps: every sample is checked, every decision is kept, and budgets are bounds."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from raygen.data.sources.base import SourcePlan
from raygen.errors import ConfigError, RowError
from raygen.program.job import Job
from raygen.program.program import Program
from tests.steps.scripted import Judge, Writer, job_of, run, story

GENERATE = {"generate": {"model": "writer", "prompt": "About {{ text }}"}}
CHECKED = {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.8}}}
REFINED = {"refine": {"prompt": "{{ text }} | {{ sample }} | {{ finding }}", "budget": 3}}


def texts(samples: list[dict]) -> list[str]:
    return [sample["text"] for sample in samples]


def test_a_verified_row_is_accepted_with_the_probability() -> None:
    judge = Judge(lambda premise, hypothesis: 0.9)
    found = run(job_of(GENERATE, CHECKED), Writer(lambda prompt, n: "good"), judge, text="rain")
    assert (found.status, found.reason, texts(found.samples)) == ("accepted", None, ["good"])
    assert judge.asked[0].texts == [("rain", "good")]
    assert found.samples[0]["scores"] == {"verify": 0.9}
    assert found.attempts[-1]["scores"]["entailment"] == 0.9
    assert found.attempts[-1]["model"] == "nli"


def test_a_long_premise_is_read_by_sentences() -> None:
    by_sentences = {
        "verify": {
            "entailment": {"model": "nli", "premise": "{{ text }}", "by": "sentences", "threshold": 0.8}
        }
    }
    judge = Judge(lambda premise, hypothesis: 0.9 if premise == "It is wet. Rain falls." else 0.2)
    generate = {"generate": {**GENERATE["generate"], "samples": 2}}
    found = run(
        job_of(generate, by_sentences),
        Writer(lambda p, n: f"s{n}"),
        judge,
        text="It is wet. Rain falls. So be it.",
    )
    assert [sample["scores"] for sample in found.samples] == [{"verify": 0.9}] * 2
    [request] = judge.asked
    assert [pair[0] for pair in request.texts if pair[1] == "s1"] == [
        "It is wet.",
        "Rain falls.",
        "So be it.",
        "It is wet. Rain falls.",
        "Rain falls. So be it.",
    ]


def test_the_label_that_counts_may_come_from_the_row() -> None:
    check = {
        "verify": {"entailment": {"model": "nli", "premise": "x", "label": "{{ label }}", "threshold": 0.4}}
    }
    judge, writer = Judge(lambda premise, hypothesis: 0.1), Writer(lambda prompt, n: "said")
    assert run(job_of(GENERATE, check), writer, judge, text="t", label="neutral").status == "accepted"
    found = run(job_of(GENERATE, check), writer, judge, text="t", label="entailment")
    assert (found.status, found.reason) == ("rejected", "not_entailed")
    found = run(job_of(GENERATE, check), writer, judge, text="t", label="other")
    assert (found.status, found.reason, found.error["step"]) == ("failed", "unknown_label", "verify")


def test_a_rejected_row_says_why_and_keeps_its_samples() -> None:
    found = run(
        job_of(GENERATE, CHECKED), Writer(lambda prompt, n: "bad"), Judge(lambda p, h: 0.1), text="rain"
    )
    assert (found.status, found.reason, texts(found.samples)) == ("rejected", "not_entailed", ["bad"])
    assert story(found) == [("generate", 0, "generated"), ("verify", 0, "not_entailed")]
    assert "it does not follow from the text (neutral: 45%)" in found.attempts[-1]["detail"]


def test_samples_that_fail_are_put_aside_and_the_others_go_on() -> None:
    generate = {"generate": {**GENERATE["generate"], "samples": 3}}
    writer = Writer(lambda prompt, n: ["good 0", "bad 1", "good 2"][n])
    found = run(job_of(generate, CHECKED), writer, Judge(lambda p, h: float("good" in h)), text="rain")
    assert texts(found.samples) == ["good 0", "good 2"]
    assert [(each["number"], each["text"]) for each in found.discarded] == [(1, "bad 1")]


def test_refinement_tells_the_finding_and_checks_again() -> None:
    writer = Writer(lambda prompt, n: "bad" if prompt.startswith("About") else "good")
    found = run(
        job_of(GENERATE, CHECKED, REFINED), writer, Judge(lambda p, h: float(h == "good")), text="rain"
    )
    assert writer.prompts == ["About rain", "rain | bad | it does not follow from the text (neutral: 50%)"]
    assert (found.status, texts(found.samples), texts(found.discarded)) == ("accepted", ["good"], ["bad"])
    assert (found.samples[0]["number"], found.samples[0]["parent"], found.samples[0]["step"]) == (
        1,
        0,
        "refine",
    )
    assert story(found) == [
        ("generate", 0, "generated"),
        ("verify", 0, "not_entailed"),
        ("refine", 1, "refined"),
        ("verify", 1, "passed"),
    ]


@pytest.mark.parametrize(
    ("samples", "budget", "asked"), [(1, 1, 1), (1, 3, 3), (2, 3, 3), (5, 3, 3), (2, 4, 4)]
)
def test_a_row_never_spends_more_than_its_budget(samples: int, budget: int, asked: int) -> None:
    generate = {"generate": {**GENERATE["generate"], "samples": samples}}
    refine = {"refine": {**REFINED["refine"], "budget": budget}}
    writer = Writer(lambda prompt, n: "bad")
    found = run(job_of(generate, CHECKED, refine), writer, Judge(lambda p, h: 0.0), text="rain")
    assert len(writer.asked) - 1 == asked
    assert (found.status, found.reason) == ("rejected", "not_entailed")
    assert len(found.samples) + len(found.discarded) == samples + asked
    numbers = [each["number"] for each in [*found.samples, *found.discarded]]
    assert sorted(numbers) == list(range(samples + asked))
    seeds = [seed for request in writer.asked for seed in request.seeds]
    assert len(set(seeds)) == len(seeds)


def test_refinement_ends_once_enough_samples_are_accepted() -> None:
    generate = {"generate": {**GENERATE["generate"], "samples": 3}}
    refine = {"refine": {**REFINED["refine"], "budget": 9, "until": 2}}
    writer = Writer(
        lambda prompt, n: "good" if n == 0 and prompt.startswith("About") else f"bad {len(prompt)}"
    )
    found = run(
        job_of(generate, CHECKED, refine), writer, Judge(lambda p, h: float(h == "good")), text="rain"
    )
    assert len(writer.asked) == 1 + 9  # one is accepted, two are wanted: it goes on to its budget
    assert texts(found.samples) == ["good"]
    enough = {"refine": {**REFINED["refine"], "until": 1}}
    writer = Writer(lambda prompt, n: "good" if n == 0 else "bad")
    run(job_of(generate, CHECKED, enough), writer, Judge(lambda p, h: float(h == "good")), text="rain")
    assert len(writer.asked) == 1


def test_every_check_above_is_made_again_and_no_other() -> None:
    job = job_of(
        GENERATE,
        {"verify": {"length": {"at_least": 2}}},
        {"refine": {"prompt": "longer: {{ sample }}", "budget": 2}},
        CHECKED,
        {"refine": {"prompt": "better: {{ sample }}", "budget": 2}},
    )
    answers = {"About rain": "a", "longer: a": "a b", "better: a b": "c"}
    judge = Judge(lambda p, h: float(h == "c"))
    found = run(job, Writer(lambda prompt, n: answers[prompt]), judge, text="rain")
    assert (found.status, texts(found.samples)) == (
        "accepted",
        ["c"],
    )  # the length is checked before the first refine only
    assert [request.texts for request in judge.asked] == [[("rain", "a b")], [("rain", "c")]]


def test_a_named_sample_is_a_variable_of_later_prompts() -> None:
    job = job_of(
        {"generate": {"model": "writer", "prompt": "Begin: {{ text }}", "samples": 2, "into": "opening"}},
        {"verify": {"matches": {"pattern": "^good"}}},
        {"generate": {"model": "other", "prompt": "{{ opening }} goes on", "into": "ending"}},
    )
    writer = Writer(lambda prompt, n: ["bad", "good start"][n] if prompt.startswith("Begin") else "the end")
    found = run(job, writer, text="rain")
    assert writer.prompts == ["Begin: rain", "good start goes on"]
    assert found.variables == {"opening": "good start", "ending": "the end"}
    assert texts(found.samples) == ["the end"]
    assert texts(found.discarded) == ["bad", "good start"]
    assert [each["step"] for each in found.discarded] == ["generate", "generate"]
    assert found.samples[0]["step"] == "generate-2"


def test_a_row_that_is_rejected_costs_no_later_step() -> None:
    job = job_of(
        GENERATE,
        {"verify": {"matches": {"pattern": "good"}}},
        {"generate": {"model": "other", "prompt": "next"}},
    )
    writer = Writer(lambda prompt, n: "bad")
    found = run(job, writer, text="rain")
    assert writer.prompts == ["About rain"]
    assert (found.status, found.reason) == ("rejected", "pattern")


def test_what_fails_names_its_step_and_keeps_what_was_done() -> None:
    class Broken(Judge):
        async def classify(self, request):  # type: ignore[no-untyped-def]
            raise RowError("text_too_long", "too long")

    found = run(
        job_of(GENERATE, CHECKED), Writer(lambda prompt, n: "good"), Broken(lambda p, h: 1.0), text="rain"
    )
    assert (found.status, found.reason) == ("failed", "text_too_long")
    assert found.error == {"code": "text_too_long", "message": "too long", "step": "verify"}
    assert (found.samples, texts(found.discarded)) == ([], ["good"])
    assert story(found)[-1] == ("verify", None, "failed")


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
    bounded = {"filter": {"score": "long", "at_least": 2, "at_most": 3}}
    found = run(job_of(generate, score, bounded), writer)
    assert (texts(found.samples), found.samples[0]["scores"]) == (["a b"], {"long": 2.0})


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([CHECKED], r"steps\.0\.verify: there is no sample yet"),
        ([GENERATE, REFINED], r"steps\.1\.refine: no `verify` stands between"),
        ([GENERATE, CHECKED, REFINED, REFINED], r"steps\.3\.refine: no `verify`"),
        ([GENERATE, {"verify": {"entailment": {"model": "writer", "premise": "x"}}}],
         r"steps\.1\.verify\.entailment\.model: 'writer' is of family 'causal_lm', which classifies no texts"),
        ([GENERATE, {"verify": {"entailment": {"model": "nil", "premise": "x"}}}], r"no model 'nil'; models: writer, other, nli"),
        ([GENERATE, {"verify": {"json_schema": {"type": "nothing"}}}], r"steps\.1\.verify\.json_schema\.type: not a JSON schema"),
        ([GENERATE, {"verify": {"json_schema": {"$ref": "http://x/y"}}}], r"another document is not followed"),
        ([GENERATE, {"verify": {"json_schema": {"items": {"$ref": "#/$defs/a"}, "$defs": {"b": {}}}}}],
         r"steps\.1\.verify\.json_schema: `\$ref: #/\$defs/a` names nothing in it"),
        ([GENERATE, {"verify": {"json_schema": {"const": float("nan")}}}], r"steps\.1\.verify\.json_schema: .* no JSON"),
        ([GENERATE, {"select": {"best": "verify"}}], r"no step before it gives a score 'verify'; scores: none"),
        ([GENERATE, CHECKED, GENERATE, {"select": {"best": "verify"}}], r"steps\.3\.select\.best: no step before it"),
        ([GENERATE, {"verify": {"matches": {"pattern": "a"}}}, {"filter": {"score": "verify", "at_least": 1}}],
         r"steps\.2\.filter\.score: no step before it gives a score 'verify'; scores: none"),
        ([GENERATE, CHECKED, REFINED, CHECKED, REFINED, {"select": {"best": "verify"}}],
         r"steps\.5\.select\.best: no step before it gives a score 'verify'; scores: verify-2"),
        ([GENERATE, {"filter": {"score": "x", "at_most": 1}}], r"steps\.1\.filter\.score: no step before it"),
        ([{**GENERATE, "name": "a"}, {**CHECKED, "name": "a"}], r"steps\.1\.name: another step is called 'a'"),
        ([GENERATE, {"verify": {"entailment": {"model": "nli", "premise": "x", "threshold": 1.5}}}], "less than or equal to 1"),
        ([GENERATE, {"verify": {"length": {"at_least": 5, "at_most": 4}}}], "at_most"),
        ([GENERATE, CHECKED, {"filter": {"score": "verify", "at_least": 0.9, "at_most": 0.5}}],
         r"steps\.2\.filter[\s\S]*at_most \(0\.5\) is less than at_least \(0\.9\)"),
        ([{"generate": {**GENERATE["generate"], "into": "answer"}}], "'answer' is what templates call a part of the sample"),
        ([GENERATE, {"verify": {"matches": {"pattern": "("}}}], "not a regular expression"),
        ([GENERATE, {"verify": {}}], "give exactly one of entailment"),
        ([GENERATE, {"select": {"first": 1, "majority": True}}], "give exactly one of first, best, majority"),
        ([GENERATE, {"verify": {"length": {}}, "select": {"first": 1}}], "given: verify, select"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_work(steps: list, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job_of(*steps)


def columns(job: Job, *names: str) -> None:
    import pyarrow as pa

    Program(job).check_columns(SourcePlan([], [], dict.fromkeys(names, pa.string()), False))


def test_a_step_reads_columns_and_what_steps_before_it_write() -> None:
    named = {"generate": {"model": "writer", "prompt": "{{ text }}", "into": "opening"}}
    later = {"generate": {"model": "writer", "prompt": "{{ opening }}"}}
    columns(job_of(named, later), "text")
    with pytest.raises(
        ConfigError,
        match=r"steps\.0\.generate\.prompt: the source has no column 'opening' and no step before",
    ):
        columns(job_of(later, named), "text")
    with pytest.raises(ConfigError, match="the source has a column 'opening' already"):
        columns(job_of(named, later), "text", "opening")
    with pytest.raises(
        ConfigError, match=r"steps\.1\.verify\.entailment\.premise: the source has no column 'passage'"
    ):
        columns(
            job_of(GENERATE, {"verify": {"entailment": {"model": "nli", "premise": "{{ passage }}"}}}), "text"
        )


@pytest.mark.parametrize(
    ("steps", "where"),
    [
        ([{"generate": {"model": "writer", "prompt": "{{ chat }}"}}], r"steps\.0\.generate\.prompt"),
        (
            [GENERATE, {"verify": {"entailment": {"model": "nli", "premise": "{{ chat }}"}}}],
            r"steps\.1\.verify\.entailment\.premise",
        ),
        (
            [GENERATE, CHECKED, {"refine": {"prompt": "{{ sample }}: {{ chat }}"}}],
            r"steps\.2\.refine\.prompt",
        ),
    ],
)
def test_any_template_that_prints_lists_is_refused_before_work(steps: list, where: str) -> None:
    import pyarrow as pa

    chat = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    source = SourcePlan([], [], {"text": pa.string(), "chat": chat}, True)
    with pytest.raises(
        ConfigError, match=f"{where}: 'chat' holds lists, not text: chat messages go in whole"
    ):
        Program(job_of(*steps)).check_columns(source)


def test_seeds_of_a_step_do_not_move_when_others_are_added() -> None:
    plain, checked = Writer(lambda prompt, n: "good"), Writer(lambda prompt, n: "good")
    run(job_of(GENERATE), plain, text="rain")
    run(job_of(GENERATE, CHECKED, REFINED), checked, text="rain")
    assert plain.asked[0].seeds == checked.asked[0].seeds
