"""The story of a row: every prompt as it was sent, every decision, and what is said when something is gone."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raygen
from raygen.engines.echo import EchoEngine
from raygen.engines.requests import GenerateRequest, GenerateResult
from raygen.errors import UserError
from raygen.pipeline.progress import make_display
from raygen.pipeline.retry import retry_run
from raygen.pipeline.run import drive
from raygen.program.job import Job
from raygen.program.prepare import prepare
from raygen.review.trace import trace_row
from raygen.review.trace_tree import print_trace
from tests.review.traced_run import STEPS, traced_job, traced_run

Asked = list[tuple[str, list[int], list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, list[GenerateRequest]]]:
    """A run, and what the writer was really asked, by row."""
    asked: dict[str, list[GenerateRequest]] = {}
    plain = EchoEngine.generate

    async def generate(self: EchoEngine, request: GenerateRequest) -> GenerateResult:
        asked.setdefault(request.row_id, []).append(request)
        return await plain(self, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EchoEngine, "generate", generate)
        return traced_run(tmp_path_factory.mktemp("traced")), asked


def prompts_of(trace: dict[str, Any]) -> list[dict[str, Any]]:
    return [prompt for block in trace["steps"] for prompt in block["prompts"]]


def drawn(trace: dict[str, Any]) -> str:
    out = io.StringIO()
    print_trace(trace, False, out)
    return out.getvalue()


def test_every_prompt_of_every_row_is_the_one_that_was_sent(
    run: tuple[str, dict[str, list[GenerateRequest]]],
) -> None:
    uri, asked = run
    refined = 0
    for row_id, requests in asked.items():
        trace = trace_row(uri, row_id)
        assert trace["notes"] == []
        told = prompts_of(trace)
        assert all(prompt["proven"] for prompt in told)
        assert [prompt["messages"] for prompt in told] == [request.messages for request in requests]
        refined += any(block["step"] == "refine" for block in trace["steps"])
    assert len(asked) == 40
    assert refined > 5


def test_the_story_is_told_in_order(run: tuple[str, Any]) -> None:
    uri, _ = run
    rows = raygen.open_run(uri).to_arrow().to_pylist(maps_as_pydicts="lossy")
    row = next(each for each in rows if any(a["decision"] == "refined" for a in each["attempts"]))
    trace = trace_row(uri, row["row_id"])
    assert (trace["status"], trace["reason"]) == (row["status"], row["reason"])
    assert trace["input"] == {"text": f"passage {row['row_id'][1:]} has some words", "topic": row["topic"]}
    told = [each for block in trace["steps"] for each in block["decisions"]]
    keys = ("sample", "decision", "detail", "model", "scores")
    assert [{key: each[key] for key in keys} for each in told] == [
        {key: each[key] for key in keys} for each in row["attempts"]
    ]
    assert [block["step"] for block in trace["steps"]][:4] == ["generate", "verify", "refine", "verify"]
    assert [block["again"] for block in trace["steps"]][:4] == [False, False, False, True]
    mended = next(each for each in told if each["decision"] == "refined")["made"]
    judged = next(each for each in told if each["rejected"])
    assert (mended["mends"], mended["because"]) == (judged["sample"], judged["detail"])
    assert judged["premises"] == [trace["input"]["text"]]
    assert (judged["label"], set(judged["scores"])) == (
        "entailment",
        {"entailment", "neutral", "contradiction"},
    )
    assert trace["lineage"] == row["lineage"]
    assert trace["variables"] == row["variables"]


def test_steps_without_a_decision_are_named(run: tuple[str, Any]) -> None:
    uri, _ = run
    rows = raygen.open_run(uri).to_arrow().to_pylist()
    kinds = {
        (row["status"], any(a["step"] == "refine" for a in row["attempts"])): row["row_id"] for row in rows
    }
    ends = {kind: trace_row(uri, row_id) for kind, row_id in kinds.items()}
    assert ends["accepted", False]["nothing_to_do"] == ["refine"]
    assert ends["accepted", False]["not_reached"] == []
    assert ends["rejected", True]["nothing_to_do"] == []
    assert ends["rejected", True]["not_reached"] == ["judge", "select", "generate-2"]


def test_the_tree_says_it_all(run: tuple[str, Any]) -> None:
    uri, _ = run
    rows = raygen.open_run(uri).to_arrow().to_pylist()
    row = next(
        each
        for each in rows
        if each["status"] == "accepted" and any(a["decision"] == "refined" for a in each["attempts"])
    )
    text = drawn(trace_row(uri, row["row_id"]))
    topic, number = row["topic"], row["row_id"][1:]
    for said in (
        f"{row['row_id']}  accepted",
        f"system: You know {topic}",
        f"user: About: passage {number} has some words",
        "verify entailment model=nli label=entailment",
        "not_entailed  entailment 0.",
        "by nli",
        "premise: column text",
        "because of sample 0: it does not follow from the text",
        "verify  verify entailment model=nli label=entailment by=whole threshold=0.45  (again)",
        "[kept]",
        "[rejected: not_entailed]",
        f"seed {row['samples'][0]['seed']}",
        row["samples"][0]["text"],
        "selected  judge 0.",
        f"said: {row['variables'][0][1]}",
        "engine version raygen",
        row["lineage"]["config_hash"],
        "run seed: 7",
    ):
        assert said in text, said
    assert "not proven" not in text
    assert "\x1b" not in text  # no colours in a pipe


def test_the_command_speaks_json(cli: Callable[..., Any], run: tuple[str, Any]) -> None:
    uri, _ = run
    done = cli("trace", uri, "p3", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == json.loads(json.dumps(trace_row(uri, "p3"), default=str))
    assert "p3  " in cli("trace", uri, "p3").out


@pytest.mark.parametrize(
    ("row_id", "words"),
    [
        ("p3x", ["no row 'p3x'", "'p3'"]),
        ("P17", ["'p17'"]),
        ("nothing like it", ["no row"]),
        ("\x1b[2J", ["\\x1b"]),
    ],
)
def test_an_unknown_row_names_those_that_look_like_it(
    cli: Callable[..., Any], run: tuple[str, Any], row_id: str, words: list[str]
) -> None:
    refused = cli("trace", run[0], row_id)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert all(word in refused.err for word in words)
    assert "\x1b" not in refused.err


@pytest.mark.parametrize(
    ("row_id", "like"),
    [
        ("ab-17", {"AB-17", "zb-17"}),
        ("Ab-17x", {"AB-17"}),
        ("xab-17", {"AB-17", "zb-17"}),
        ("q", {"AB-17", "zb-17", "c"}),
    ],
)
def test_ids_that_share_a_half_are_alike(row_id: str, like: set[str]) -> None:
    from raygen.review.find_row import _similar

    ids = pa.chunked_array([["AB-17"], ["zb-17", "c"]])
    assert set(_similar(ids, row_id)) == like


def test_only_ids_are_read_of_other_chunks(run: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from raygen.review import find_row
    from raygen.runs import retries

    read: list[int] = []
    whole = retries.read_data
    for module in (find_row, retries):
        monkeypatch.setattr(
            module, "read_data", lambda store, commit: read.append(commit.chunk) or whole(store, commit)
        )
    trace_row(run[0], "p33")
    assert read == [2]


def test_without_the_source_the_story_has_no_prompts(tmp_path: Path) -> None:
    uri = traced_run(tmp_path, rows=3)
    whole = trace_row(uri, "p1")
    (tmp_path / "in.parquet").unlink()
    trace = trace_row(uri, "p1")
    [note] = trace["notes"]
    assert note.startswith("the source cannot be read as it was: prompts are not shown")
    assert (trace["input"], prompts_of(trace)) == (None, [])
    assert trace["kept"] == {"topic": "t1"}
    decided = [[each["decision"] for each in block["decisions"]] for block in trace["steps"]]
    assert decided == [[each["decision"] for each in block["decisions"]] for block in whole["steps"]]
    assert "kept columns" in drawn(trace)
    pq.write_table(pa.table({"id": ["p1"], "text": ["other"], "topic": ["t"]}), tmp_path / "in.parquet")
    assert len(trace_row(uri, "p1")["notes"]) == 1


def test_an_unfinished_run_tells_what_it_has(tmp_path: Path) -> None:
    uri = traced_run(tmp_path)
    (tmp_path / "run" / "manifest.json").unlink()
    for commit in sorted((tmp_path / "run" / "commits").iterdir())[1:]:
        commit.unlink()
    assert prompts_of(trace_row(uri, "p3"))
    with pytest.raises(UserError, match="so far: the run is not finished"):
        trace_row(uri, "p33")


def steps_with(check: dict[str, Any]) -> list[dict[str, Any]]:
    return [STEPS[0], {"verify": check}, {"generate": {"model": "writer", "prompt": "{{ said }} goes on"}}]


def refuse(sample: str, row: dict[str, Any]) -> bool:
    raise AssertionError("a trace runs no function of the user's")


def allow(sample: str, row: dict[str, Any]) -> bool | str:
    return sample[0] in "0123456789" or "it begins with a letter"


def test_checks_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = {"python": {"function": f"{__name__}:allow"}}
    uri = traced_run(tmp_path, steps_with(check), rows=8)
    monkeypatch.setattr(f"{__name__}.allow", refuse)
    rows = raygen.open_run(uri).to_arrow().to_pylist()
    assert len({row["status"] for row in rows}) == 2
    for row in rows:
        trace = trace_row(uri, row["row_id"])
        assert trace["notes"] == []
        assert len(prompts_of(trace)) == (2 if row["status"] == "accepted" else 1)


def test_a_failed_row_shows_the_prompt_that_was_too_long(tmp_path: Path) -> None:
    models = {
        "writer": {"family": "causal_lm", "engine": "echo", "options": {"context_tokens": 3}},
        "nli": {"family": "classifier", "engine": "echo"},
    }
    trace = trace_row(traced_run(tmp_path, rows=2, models=models), "p1")
    assert (trace["status"], trace["reason"], trace["notes"]) == ("failed", "prompt_too_long", [])
    [prompt] = prompts_of(trace)
    assert (prompt["samples"], prompt["proven"]) == ([], None)
    text = drawn(trace)
    assert "failed in generate: prompt_too_long: the prompt has 8 tokens" in text
    assert "asked writer (not proven)" in text


def test_a_retried_row_is_told_by_the_job_that_made_it(tmp_path: Path) -> None:
    models = {
        "writer": {"family": "causal_lm", "engine": "echo", "options": {"context_tokens": 7}},
        "nli": {"family": "classifier", "engine": "echo"},
    }
    steps = [
        {
            "generate": {
                "model": "writer",
                "prompt": "{{ text }}{% if topic == 't1' %} and more of it{% endif %}",
            }
        }
    ]
    uri = traced_run(tmp_path, steps, rows=4, models=models)
    assert trace_row(uri, "p1")["status"] == "failed"
    retry_run(
        uri,
        ["models.writer.options={context_tokens: 99}"],
        inline=True,
        display=make_display(True),
        say=print,
    )
    for row_id in ("p0", "p1"):
        trace = trace_row(uri, row_id)
        assert (trace["status"], trace["notes"]) == ("accepted", [])
        assert [prompt["proven"] for prompt in prompts_of(trace)] == [True]


def test_a_prompt_that_was_not_sent_is_called_so(tmp_path: Path) -> None:
    uri = traced_run(tmp_path, rows=2)
    plain = Job.model_validate

    def edited(value: Any) -> Job:
        steps = [{**step} for step in value["steps"]]
        steps[0] = {"generate": {**steps[0]["generate"], "prompt": "Otherwise: {{ text }}"}}
        return plain({**value, "steps": steps})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "model_validate", edited)
        trace = trace_row(uri, "p1")
    assert trace["notes"] == ["some prompts are not those that were sent: their digests differ"]
    assert "asked writer (NOT what was sent)" in drawn(trace)


def test_every_attempt_at_a_row_is_told(tmp_path: Path) -> None:
    steps = [
        STEPS[0],
        {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.5}}},
    ]
    uri = traced_run(tmp_path, steps, rows=12, accept={"target": 12, "max_attempts_per_row": 3})
    most, texts = 0, ""
    for row in raygen.open_run(uri).to_arrow().to_pylist():
        trace = trace_row(uri, row["row_id"])
        assert trace["notes"] == []
        attempts = row["attempts"][-1]["attempt"]
        assert [block["attempt"] for block in trace["steps"]] == [
            n for n in range(attempts + 1) for _ in "ab"
        ]
        assert [prompt["proven"] for prompt in prompts_of(trace)] == [True] * (attempts + 1)
        most, texts = max(most, attempts), texts + drawn(trace)
    assert most == 2
    assert "(attempt 3 at the row)" in texts


def test_a_duplicate_is_told_with_the_row_that_stays(tmp_path: Path) -> None:
    steps = [STEPS[0], {"deduplicate": {"of": "{{ topic }}", "exact": True}}]
    uri = traced_run(tmp_path, steps, rows=6)
    trace = trace_row(uri, "p5")
    assert (trace["status"], trace["reason"], trace["notes"]) == ("rejected", "duplicate", [])
    assert prompts_of(trace)[0]["proven"]
    assert "p0" in drawn(trace)[drawn(trace).index("deduplicate") :]
    stays = trace_row(uri, "p0")
    assert (stays["status"], stays["nothing_to_do"], stays["not_reached"]) == (
        "accepted",
        ["deduplicate"],
        [],
    )
    (Path(uri) / "manifest.json").unlink()  # as long as a run goes on, its rows are not compared
    unsettled = trace_row(uri, "p5")
    assert (unsettled["status"], unsettled["not_reached"]) == ("accepted", ["deduplicate"])


def test_hostile_text_steers_no_terminal(tmp_path: Path) -> None:
    hostile = "a\x1b[2J\x07\u202eb[bold red]c"
    job = traced_job(tmp_path, rows=1)
    table = {"id": [hostile], "text": [hostile], "topic": [hostile]}
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    uri = drive(prepare(job), inline=True).uri
    text = drawn(trace_row(uri, hostile, attribute=True))
    assert not set(text) & set("\x1b\x07\u202e")
    assert "a\\x1b[2J\\x07\\u202eb[bold red]c" in text


def test_attribution_says_what_it_lacks(run: tuple[str, Any]) -> None:
    notes = trace_row(run[0], "p1", attribute=True)["notes"]
    assert notes == ["model 'nli' (engine 'echo') has no weights to look into"]
