"""Reuse: an edited job computes again what the edit touches, and nothing else; its outcomes are those of a fresh run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raygen
from raygen.engines.echo import EchoEngine
from raygen.engines.requests import ClassifyRequest, ClassifyResult, GenerateRequest, GenerateResult
from raygen.errors import ConfigError, RaygenError, UserError
from raygen.pipeline.retry import retry_run
from raygen.pipeline.run import RunResult, run_job
from raygen.program.job import Job
from raygen.runs.status import read_status
from raygen.storage import open_store
from tests.exactly_once.mutants import flipped
from tests.fakes.fault_s3 import FaultS3

MANY, ROWS, CHUNK_ROWS = 2000, 160, 40
MODELS = {
    "writer": {"family": "causal_lm", "engine": "echo"},
    "nli": {"family": "classifier", "engine": "echo"},
}


def steps(
    prompt: str = "About {{ text }}", threshold: float = 0.3, select: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    return [
        {"generate": {"model": "writer", "prompt": prompt, "samples": 2}},
        {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": threshold}}},
        {"select": select or {"first": 1}},
    ]


def write_rows(path: Path, rows: int, first: int = 0) -> Path:
    numbers = range(first, first + rows)
    pq.write_table(
        pa.table({"id": [f"p{n}" for n in numbers], "text": [f"passage {n}" for n in numbers]}), path
    )
    return path


def job_of(rows: Path, output: object, reuse: object = None, **changes: Any) -> Job:
    job = {
        "name": "edited",
        "source": {"format": "parquet", "uri": str(rows), "key": "id"},
        "models": MODELS,
        "steps": steps(),
        "sink": {"chunk_rows": CHUNK_ROWS},
        "output": str(output),
        "execution": {} if reuse is None else {"reuse": str(reuse)},
        **changes,
    }
    return Job.model_validate(job)


def outcomes(run: object) -> pa.Table:
    return raygen.open_run(str(run)).to_arrow()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often engines were asked, counted by themselves."""
    counts: Counter[str] = Counter()
    generate, classify = EchoEngine.generate, EchoEngine.classify

    async def counted(self: EchoEngine, request: GenerateRequest) -> GenerateResult:
        counts["generate"] += 1
        return await generate(self, request)

    async def judged(self: EchoEngine, request: ClassifyRequest) -> ClassifyResult:
        counts["classify"] += 1
        return await classify(self, request)

    monkeypatch.setattr(EchoEngine, "generate", counted)
    monkeypatch.setattr(EchoEngine, "classify", judged)
    return counts


@pytest.fixture(autouse=True)
def no_report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing one takes longer than these runs."""
    if request.node.name != "test_the_command_line_says_what_was_reused":
        for module in ("run", "retry"):
            monkeypatch.setattr(f"raygen.pipeline.{module}.write_report", lambda store: "report.html")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Path, Path]]:
    """A source of so many rows, and a finished run of it."""
    folder = tmp_path_factory.mktemp("finished")
    made: dict[int, tuple[Path, Path]] = {}

    def run(rows: int) -> tuple[Path, Path]:
        if rows not in made:
            source = write_rows(folder / f"{rows}.parquet", rows)
            run_job(job_of(source, folder / str(rows)), inline=True)
            made[rows] = source, folder / str(rows)
        return made[rows]

    return run


@pytest.mark.parametrize(
    ("edit", "generated", "classified"),
    [
        ({}, 0, 0),
        ({"steps": steps(select={"best": "verify"})}, 0, 0),  # the last step
        ({"steps": steps(threshold=0.34)}, 0, 0),  # what a probability has to be, not the probability
        ({"steps": steps()[:2]}, 0, 0),
        ({"steps": steps(prompt="Of {{ text }}")}, ROWS, ROWS),  # the first step, and what comes of it
        ({"seed": 1}, ROWS, ROWS),
        ({"models": {**MODELS, "nli": {**MODELS["nli"], "ref": "other"}}}, 0, ROWS),  # other weights
        (
            {"models": {**MODELS, "writer": {**MODELS["writer"], "ref": "other"}}},
            ROWS,
            0,
        ),  # of the same texts
    ],
    ids=["nothing", "select", "threshold", "a step less", "prompt", "seed", "judge", "writer"],
)
def test_an_edit_recomputes_what_depends_on_it_and_no_more(
    finished: Callable[[int], tuple[Path, Path]],
    tmp_path: Path,
    asked: Counter[str],
    edit: dict[str, Any],
    generated: int,
    classified: int,
) -> None:
    source, before = finished(ROWS)
    asked.clear()
    result = run_job(job_of(source, tmp_path / "again", before, **edit), inline=True)
    assert (asked["generate"], asked["classify"]) == (generated, classified)
    computed = generated + classified
    assert result.calls == {"reused": 2 * ROWS - computed, "computed": computed}
    assert result.usage["output_tokens"] == 2 * generated
    read = result.usage["prompt_tokens"], result.usage["encoded_tokens"]
    assert [n > 0 for n in read] == [generated > 0, classified > 0]
    run_job(job_of(source, tmp_path / "fresh", **edit), inline=True)
    assert outcomes(tmp_path / "again").equals(outcomes(tmp_path / "fresh"))
    status = read_status(open_store(str(tmp_path / "again")))
    assert (status.calls, status.reuse) == (result.calls, str(before))


@pytest.mark.parametrize(
    ("edited", "generated", "classified"),
    [
        (steps(select={"best": "verify"}), 0, 0),
        (steps(threshold=0.34), 0, 0),
        (steps(prompt="Of {{ text }}"), MANY, MANY),
    ],
    ids=["last step", "threshold", "first step"],
)
def test_of_2000_rows_the_edited_step_alone_is_paid_for(
    finished: Callable[[int], tuple[Path, Path]],
    tmp_path: Path,
    asked: Counter[str],
    edited: list[dict[str, Any]],
    generated: int,
    classified: int,
) -> None:
    source, before = finished(MANY)
    asked.clear()
    result = run_job(job_of(source, tmp_path / "again", before, steps=edited), inline=True)
    assert (asked["generate"], asked["classify"]) == (generated, classified)
    assert result.calls["reused"] == 2 * MANY - generated - classified


def test_other_thresholds_decide_anew(finished: Callable[[int], tuple[Path, Path]], tmp_path: Path) -> None:
    source, before = finished(ROWS)
    counts = []
    for threshold in (0.2, 0.34, 0.6):
        job = job_of(source, tmp_path / str(threshold), before, steps=steps(threshold=threshold))
        counts.append(run_job(job, inline=True).rows["accepted"])
    assert ROWS > counts[0] > counts[1] > counts[2] > 0


# The rest needs few rows.

FEW, SMALL = 40, {"sink": {"chunk_rows": 8}}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.parquet", FEW)


@pytest.fixture
def before(source: Path, tmp_path: Path) -> Path:
    run_job(job_of(source, tmp_path / "before", **SMALL), inline=True)
    return tmp_path / "before"


def again(rows: Path, before: object, output: Path, **changes: Any) -> RunResult:
    return run_job(job_of(rows, output, before, **{**SMALL, **changes}), inline=True)


def test_an_unfinished_run_is_reused_as_far_as_it_came(source: Path, before: Path, tmp_path: Path) -> None:
    (before / "manifest.json").unlink()
    for chunk in (1, 3):
        (before / f"commits/0000000{chunk}.json").unlink()
    said: list[str] = []
    result = run_job(job_of(source, tmp_path / "after", before, **SMALL), inline=True, say=said.append)
    assert result.calls == {"reused": 2 * 24, "computed": 2 * 16}
    assert said == [f"reusing {before}: 3 of 5 chunks are committed there"]


def test_a_reusing_run_can_be_reused_in_its_turn(source: Path, before: Path, tmp_path: Path) -> None:
    again(source, before, tmp_path / "second", steps=steps(threshold=0.34))
    third = again(source, tmp_path / "second", tmp_path / "third", steps=steps(select={"first": 2}))
    assert third.calls == {"reused": 2 * FEW, "computed": 0}


def test_a_resumed_run_goes_on_reusing(source: Path, before: Path, tmp_path: Path) -> None:
    run = tmp_path / "after"
    for reuse, computed in ((None, 0), ("", 2 * 8)):  # as it began; or not any more
        again(source, before, run)
        (run / "manifest.json").unlink()
        (run / "commits/00000002.json").unlink()
        assert again(source, reuse, run).calls == {"reused": 2 * FEW - computed, "computed": computed}


def test_a_finished_run_does_not_look_for_what_it_reused(source: Path, before: Path, tmp_path: Path) -> None:
    again(source, before, tmp_path / "after")
    before.rename(tmp_path / "elsewhere")
    assert again(source, None, tmp_path / "after").state == "finished"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s, t: {"source": {"format": "parquet", "uri": str(s)}}, r'source\.key was "id", now null'),
        (
            lambda s, t: {
                "source": {"format": "parquet", "uri": str(write_rows(t / "o.parquet", 9, 100)), "key": "id"}
            },
            r"input \S+/rows\.parquet is gone; input \S+/o\.parquet is new",
        ),
    ],
    ids=["key", "inputs"],
)
def test_a_run_of_other_rows_is_refused_before_work(
    source: Path,
    before: Path,
    tmp_path: Path,
    change: Callable[[Path, Path], dict[str, Any]],
    says: str,
) -> None:
    none = r"it has no outcome of any of these [\d,]+ rows, going by their row ids"
    with pytest.raises(
        ConfigError, match=rf"execution\.reuse: {before} does not fit: {none}: .*{says}.*leave --reuse out"
    ):
        again(source, before, tmp_path / "after", **change(source, tmp_path))
    assert not (tmp_path / "after").exists()


def as_fresh(rows: Path, before: object, output: Path, **changes: Any) -> dict[str, int]:
    """Run with what another run recorded, check the outcomes against a run without, and return the calls."""
    result = again(rows, before, output, **changes)
    again(rows, None, output.with_name("fresh"), **changes)
    assert outcomes(output).equals(outcomes(output.with_name("fresh")))
    return result.calls


@pytest.mark.parametrize("chunk_rows", [1, 5, 10, 100])
def test_other_chunks_of_the_same_rows_are_reused(
    source: Path, before: Path, tmp_path: Path, chunk_rows: int
) -> None:
    calls = as_fresh(source, before, tmp_path / "after", sink={"chunk_rows": chunk_rows})
    assert calls == {"reused": 2 * FEW, "computed": 0}


def test_a_file_that_has_grown_is_reused_as_far_as_it_went(
    source: Path, before: Path, tmp_path: Path
) -> None:
    write_rows(source, FEW + 3)
    assert as_fresh(source, before, tmp_path / "after") == {"reused": 2 * FEW, "computed": 2 * 3}


def test_fewer_rows_and_then_more_are_reused(source: Path, tmp_path: Path) -> None:
    first = {"source": {"format": "parquet", "uri": str(source), "key": "id", "max_rows": 10}}
    again(source, None, tmp_path / "ten", **first)
    more = {"source": {**first["source"], "max_rows": 20}}
    said: list[str] = []
    job = job_of(source, tmp_path / "twenty", tmp_path / "ten", **SMALL, **more)
    assert run_job(job, inline=True, say=said.append).calls == {"reused": 20, "computed": 20}
    assert said == [f"reusing {tmp_path / 'ten'}: 10 of 20 rows have an outcome there"]
    assert as_fresh(source, tmp_path / "twenty", tmp_path / "five", **first) == {"reused": 20, "computed": 0}


def test_rows_in_another_order_are_found(source: Path, before: Path, tmp_path: Path) -> None:
    table = pq.read_table(source)
    new = pa.table({"id": ["new"], "text": ["passage new"]})
    pq.write_table(pa.concat_tables([new, table.take(list(reversed(range(FEW))))]), source)
    assert as_fresh(source, before, tmp_path / "after") == {"reused": 2 * FEW, "computed": 2}


def test_a_changed_row_is_computed_anew(source: Path, before: Path, tmp_path: Path) -> None:
    table = pq.read_table(source).to_pydict()
    table["text"][3] = "another passage"
    pq.write_table(pa.table(table), source)
    assert as_fresh(source, before, tmp_path / "after") == {"reused": 2 * (FEW - 1), "computed": 2}


@pytest.mark.parametrize("key", ["id", None])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_folder_with_new_files_and_lines_is_reused(tmp_path: Path, kind: str, key: str | None) -> None:
    def write(name: str, numbers: range) -> None:
        path = tmp_path / f"in/{name}.{kind}"
        path.parent.mkdir(exist_ok=True)
        if kind == "parquet":
            write_rows(path, len(numbers), numbers.start)
        elif kind == "jsonl":
            path.write_text(
                "".join(json.dumps({"id": f"p{n}", "text": f"passage {n}"}) + "\n" for n in numbers)
            )
        else:
            path.write_text("id,text\n" + "".join(f"p{n},passage {n}\n" for n in numbers))

    rows = {"source": {"format": kind, "uri": str(tmp_path / "in"), "key": key}}
    write("b", range(11))
    write("d", range(50, 53))
    again(tmp_path, None, tmp_path / "before", **rows)
    write("b", range(13))  # two lines more
    write("a", range(20, 25))  # before it, and between
    write("c", range(30, 31))
    calls = as_fresh(tmp_path, tmp_path / "before", tmp_path / "after", **rows)
    assert calls == {"reused": 2 * 14, "computed": 2 * 8}


def test_of_damaged_chunks_nothing_is_reused_in_a_grown_run(
    source: Path, before: Path, tmp_path: Path
) -> None:
    write_rows(source, FEW + 1)
    (data,) = (before / "data").glob("00000001-*")
    data.unlink()
    (data,) = (before / "data").glob("00000003-*")
    data.write_bytes(b"PAR1 no more PAR1")
    assert as_fresh(source, before, tmp_path / "after") == {"reused": 2 * 24, "computed": 2 * 17}
    said: list[str] = []
    run_job(job_of(source, tmp_path / "third", before, **SMALL), inline=True, say=said.append)
    assert (
        f"{FEW - 16} of {FEW + 1} rows have an outcome there; nothing is reused of 2 chunks, such as chunk"
        in said[0]
    )


def test_a_grown_run_is_resumed_with_what_it_reuses(source: Path, before: Path, tmp_path: Path) -> None:
    write_rows(source, FEW + 2)
    again(source, before, tmp_path / "after")
    (tmp_path / "after/manifest.json").unlink()
    (tmp_path / "after/commits/00000005.json").unlink()
    (tmp_path / "after/commits/00000001.json").unlink()
    assert again(source, None, tmp_path / "after").calls == {"reused": 2 * FEW, "computed": 2 * 2}


def test_the_same_file_elsewhere_is_the_same_rows(source: Path, before: Path, tmp_path: Path) -> None:
    moved = source.rename(tmp_path / "moved.parquet")
    assert again(moved, before, tmp_path / "after").calls["computed"] == 0


def test_no_run_and_this_very_run_are_refused(source: Path, before: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"execution\.reuse: \S+/nowhere: no run here"):
        again(source, tmp_path / "nowhere", tmp_path / "after")
    with pytest.raises(ConfigError, match="the output of this very run"):
        again(source, tmp_path / "after", tmp_path / "after")
    assert not (tmp_path / "after").exists()


@pytest.mark.parametrize("damage", ["flip", "gone"])
def test_a_damaged_record_is_computed_anew_and_said(
    source: Path, before: Path, tmp_path: Path, damage: str
) -> None:
    fresh = outcomes(before)
    (data,) = (before / "data").glob("00000001-*")
    data.write_bytes(flipped(data.read_bytes(), 1))
    if damage == "gone":
        data.unlink()
    said: list[str] = []
    result = run_job(job_of(source, tmp_path / "after", before, **SMALL), inline=True, say=said.append)
    assert result.calls == {"reused": 2 * 32, "computed": 2 * 8}
    assert said[1].startswith("nothing of chunk 1 is reused: ")
    assert outcomes(tmp_path / "after").equals(fresh)


def test_a_store_that_does_not_answer_is_asked_again(
    source: Path, before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raygen.errors import StorageError
    from raygen.pipeline import work

    read, silent = work.read_data, [2]

    def moody(store: Any, commit: Any) -> pa.Table:
        if silent[0]:
            silent[0] -= 1
            raise StorageError("no answer")
        return read(store, commit)

    monkeypatch.setattr(work, "read_data", moody)
    assert again(source, before, tmp_path / "after").calls == {"reused": 2 * FEW, "computed": 0}


LABELS = [{**each} for each in steps()]
LABELS[1] = {
    "verify": {"entailment": {"model": "nli", "premise": "x", "label": "{{ text[:9] }}", "threshold": 0}}
}


def test_what_failed_rows_had_recorded_is_reused(source: Path, tmp_path: Path, asked: Counter[str]) -> None:
    """The judge knows no class of that name: every row fails, after it was generated and judged."""
    failing = again(source, None, tmp_path / "failing", steps=LABELS)
    assert failing.rows["failed"] == FEW
    asked.clear()
    mended = again(source, tmp_path / "failing", tmp_path / "mended")
    assert (mended.rows["failed"], mended.calls) == (0, {"reused": FEW, "computed": FEW})
    assert asked == {"classify": FEW}  # of another premise


def test_a_retry_goes_on_where_its_rows_failed(source: Path, tmp_path: Path, asked: Counter[str]) -> None:
    again(source, None, tmp_path / "run", steps=LABELS)
    asked.clear()
    mend = ["steps.1.verify.entailment.label=entailment", "steps.1.verify.entailment.premise=y"]
    retried = retry_run(str(tmp_path / "run"), mend, inline=True, display=None, say=print)
    assert (retried.rows["failed"], asked) == (0, {"classify": FEW})
    assert retried.calls == {"reused": FEW, "computed": 3 * FEW}
    assert read_status(open_store(str(tmp_path / "run"))).calls == retried.calls
    # And the run is reused with its retries: they alone know of the other premise.
    asked.clear()
    judged = {**LABELS[1]["verify"]["entailment"], "label": "entailment", "premise": "y"}
    mended = [LABELS[0], {"verify": {"entailment": judged}}, LABELS[2]]
    result = again(source, tmp_path / "run", tmp_path / "after", steps=mended)
    assert (result.calls["computed"], result.rows["failed"], sum(asked.values())) == (0, 0, 0)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultS3]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with FaultS3() as server:
        yield server


def test_a_run_in_a_bucket_is_reused(source: Path, tmp_path: Path, bucket: FaultS3) -> None:
    storage = {"endpoint_url": bucket.endpoint_url, "region": "us-east-1"}
    rows = {"source": {"format": "parquet", "uri": str(source), "key": "id", "storage": storage}}
    run_job(job_of(source, "s3://bucket/before", **SMALL, **rows), inline=True)
    result = again(source, "s3://bucket/before", tmp_path / "after", **rows)
    assert result.calls == {"reused": 2 * FEW, "computed": 0}


def test_the_command_line_says_what_was_reused(
    cli: Callable[..., Any], source: Path, before: Path, tmp_path: Path
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(job_of(source, before, **SMALL).model_dump_json(exclude_none=True))
    edit = ("--set", "steps.2.select.first=2")
    refused = cli("run", job, "--inline", *edit)
    assert refused.code == 2
    takes_over = f"Restore the old settings, or take over what still holds: --output ANOTHER --reuse {before}"
    assert f"steps.2.select.first was 1, now 2. {takes_over}" in refused.err
    done = cli("run", job, "--inline", "-q", *edit, "--output", tmp_path / "after", "--reuse", before)
    assert done.code == 0, done.err
    assert "; 0 tokens generated; 80 calls reused, 0 computed" in done.out
    assert f"  calls   80 reused from {before}, 0 computed" in cli("status", tmp_path / "after").out
    status = json.loads(cli("status", tmp_path / "after", "--json").out)
    assert (status["calls"], status["reuse"]) == ({"reused": 80, "computed": 0}, str(before))
    report = (tmp_path / "after/report.html").read_text()
    assert "Calls reused" in report
    assert "the column counts those of reused calls too" in report
    assert "calls" not in cli("status", before).out
    assert cli("verify", tmp_path / "after", "--replay", "100%").code == 0


def test_an_old_commit_has_reused_nothing(before: Path) -> None:
    """Commits from before calls were counted are read as they are."""
    from raygen.runs.commit import read_commit
    from raygen.storage.sealed import seal, unseal

    path = before / "commits/00000000.json"
    record = unseal(path.read_bytes(), "commit")
    assert record.pop("calls") == {"reused": 0, "computed": 16}
    path.write_bytes(seal(record))
    assert read_commit(open_store(str(before)), 0).calls == {"reused": 0, "computed": 0}


def test_errors_of_reuse_are_the_users(source: Path, before: Path, tmp_path: Path) -> None:
    (before / "plan.json").write_bytes(flipped((before / "plan.json").read_bytes(), 3))
    with pytest.raises(RaygenError, match=r"plan\.json"):
        again(source, before, tmp_path / "after")
    assert not (tmp_path / "after").exists()
