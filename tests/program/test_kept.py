"""Kept columns: what a run stores of its input is what came in, or the row fails before it costs anything."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import raygen
from raygen.config.source import Source
from raygen.data.sources.exact import is_json
from raygen.data.sources.jsonl import JsonLinesReader
from raygen.engines.echo import EchoEngine
from raygen.errors import ConfigError
from raygen.json_text import read_json, write_json
from raygen.pipeline.retry import retry_run
from raygen.pipeline.run import run_job
from raygen.program.job import Job
from raygen.program.prepare import prepare
from raygen.review.export import export_run
from raygen.review.show import show_rows
from raygen.review.trace import trace_row
from raygen.review.verify import verify_run
from tests.fakes.echo_jobs import echo_job
from tests.test_json_text import JSON_VALUES

ALIKE = [
    [{"src": "web"}] * 1001 + [{"src": "web", "license": "cc-by", "page": 3}, {"license": "x"}],
    [1, "x", {"a": [1, None, {}]}, True, 0.5, 2**53 + 1, 12345678901234567890123, None, "null", [], -0.0],
    [True, 1, 1.0, "1", [True, 1, 1.0]],
    [1, 0.5, 2**53 + 1],
]


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing one takes longer than these runs."""
    for module in ("run", "retry"):
        monkeypatch.setattr(f"raygen.pipeline.{module}.write_report", lambda store: "report.html")


def lines_job(folder: Path, rows: Sequence[dict[str, Any]], **changes: Any) -> Job:
    folder.mkdir(exist_ok=True)
    (folder / "in.jsonl").write_bytes(b"".join(write_json(row) + b"\n" for row in rows))
    steps = [{"generate": {"model": "writer", "prompt": "{{ id }}"}}]
    job = echo_job(folder, folder / "out", **{"keep": ["kept"], "steps": steps, **changes})
    source = Source(format="jsonl", uri=str(folder / "in.jsonl"), key="id")
    return job.model_copy(update={"source": source})


def rows_of(values: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"id": f"r{number}", "kept": value} for number, value in enumerate(values)]


def kept_in(job: Job, name: str = "kept") -> list[Any]:
    return [row[name] for row in raygen.open_run(job.output_uri).rows()]


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("values", ALIKE, ids=["late keys", "all kinds", "ones", "numbers"])
def test_what_is_stored_is_what_came_in(tmp_path: Path, values: list[Any], keyed: bool) -> None:
    job = lines_job(tmp_path, rows_of(values), sink={"chunk_rows": 100})
    if not keyed:
        job = job.model_copy(update={"source": job.source.model_copy(update={"key": None})})
    said: list[str] = []
    result = run_job(job, inline=True, say=said.append)
    assert result.rows["accepted"] == len(values)
    assert "keep: no type holds all values as they are, so each is stored as JSON: kept" in said
    assert repr(kept_in(job)) == repr(values)
    assert verify_run(job.output_uri, replay="100%").ok
    export_run(job.output_uri, "jsonl", str(tmp_path / "lines"), None)
    lines = (tmp_path / "lines" / "part-00000.jsonl").read_bytes().splitlines()
    assert repr([read_json(line)["kept"] for line in lines]) == repr(values)
    export_run(job.output_uri, "parquet", str(tmp_path / "parquet"), None)
    table = pq.read_table(tmp_path / "parquet" / "part-00000.parquet")
    assert is_json(table.schema.field("kept"))
    texts = table.column("kept").to_pylist()
    assert repr([None if text is None else read_json(text) for text in texts]) == repr(values)
    shown = [read_json(line) for line in show_rows(job.output_uri, len(values), None, as_json=True)]
    assert repr([row["kept"] for row in shown]) == repr(values)
    last = f"r{len(values) - 1}" if keyed else f"in.jsonl#{len(values) - 1}"
    assert repr(trace_row(job.output_uri, last)["kept"]) == repr({"kept": values[-1]})


@settings(deadline=None, max_examples=10)
@given(
    st.lists(
        JSON_VALUES | st.lists(st.integers(0, 3)) | st.fixed_dictionaries({"a": st.booleans()}), max_size=6
    )
)
def test_any_values_come_out_of_a_whole_run(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any]
) -> None:
    job = lines_job(tmp_path_factory.mktemp("run"), rows_of([*values, None]), sink={"chunk_rows": 2})
    assert run_job(job, inline=True).rows["accepted"] == len(values) + 1
    assert [_sorted(value) for value in kept_in(job)] == [_sorted(value) for value in [*values, None]]


def _sorted(value: Any) -> Any:
    """A struct has one order of its fields; JSON's objects have none."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else repr(value)


def test_a_column_of_one_type_keeps_it(tmp_path: Path) -> None:
    values: list[Any] = [{"src": "web", "n": [1, 2]}, {"n": [], "src": None}, None]
    job = lines_job(tmp_path, rows_of(values))
    run_job(job, inline=True)
    field = raygen.open_run(job.output_uri).schema.field("kept")
    assert field.type == pa.struct([("src", pa.string()), ("n", pa.list_(pa.int64()))])
    assert kept_in(job) == values


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The rows that the model was asked about."""
    found: list[str] = []
    generate = EchoEngine.generate

    async def counted(self: EchoEngine, request: Any) -> Any:
        found.append(request.row_id)
        return await generate(self, request)

    monkeypatch.setattr(EchoEngine, "generate", counted)
    return found


def test_a_run_planned_with_types_of_a_sample_resumes_and_bends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    """As earlier versions planned: rows that do not fit fail before the model is asked about them, also by a retry."""
    values: list[Any] = [*[{"src": "web"}] * 1000, {"src": "web", "license": "cc-by"}, {"src": None}, "web"]
    job = lines_job(tmp_path, rows_of(values), sink={"chunk_rows": 400})
    with monkeypatch.context() as older:
        older.setattr(JsonLinesReader, "exact_types", lambda self, names: None)
        prepare(job)
    result = run_job(job, inline=True)
    assert result.rows == {"total": 1003, "accepted": 1001, "rejected": 0, "failed": 2}
    assert {"r1000", "r1002"}.isdisjoint(asked)
    assert kept_in(job) == [*[{"src": "web"}] * 1000, None, {"src": None}, None]
    last = list(raygen.open_run(job.output_uri).rows())[-1]
    assert (last["error"]["code"], last["error"]["step"]) == ("kept_type", "keep")
    assert last["error"]["message"] == (
        "keep: column 'kept' is stored as struct<src: string> in this run, which cannot hold \"web\" as it is"
    )
    asked.clear()
    retry_run(job.output_uri, [], inline=True, display=None, say=lambda line: None)
    assert not asked
    assert verify_run(job.output_uri, replay="100%").ok


def test_a_retry_keeps_json_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [1, "x", {"a": 2**70}]
    job = lines_job(tmp_path, rows_of(values))
    with monkeypatch.context() as failing:

        async def broken(self: EchoEngine, request: Any) -> Any:
            raise ValueError("no answer")

        failing.setattr(EchoEngine, "generate", broken)
        assert run_job(job, inline=True).rows["failed"] == 3
    retry_run(job.output_uri, [], inline=True, display=None, say=lambda line: None)
    run = raygen.open_run(job.output_uri)
    assert run.counts["accepted"] == 3
    assert kept_in(job) == values
    assert is_json(run.to_arrow().schema.field("kept"))
    assert run.dataset().to_table().column("kept").to_pylist()[1] == '"x"'


def parquet_job(folder: Path, tables: Sequence[pa.Table], **changes: Any) -> Job:
    for number, table in enumerate(tables):
        ids = pa.array([f"{number}-{row}" for row in range(len(table))])
        pq.write_table(
            table.append_column("id", ids).append_column("text", ids), folder / f"{number}.parquet"
        )
    return echo_job(folder / "*.parquet", folder / "out", **{"keep": tables[0].column_names, **changes})


def test_parquet_columns_pass_through_as_they_are(tmp_path: Path) -> None:
    columns = {
        "largest": pa.array([2**64 - 1, None], pa.uint64()),
        "price": pa.array([Decimal("0.10"), Decimal("-1.00")], pa.decimal128(38, 2)),
        "when": pa.array([1, -1], pa.timestamp("ns", "Asia/Tokyo")),
        "daytime": pa.array([1, 86_399_999_999_999], pa.time64("ns")),
        "half": pa.array([0.1, float("nan")], pa.float32()),
        "day": pa.array([datetime.date(1, 1, 1), None], pa.date32()),
        "word": pa.array(["a", "b"]).dictionary_encode(),
        "nested": pa.array([[{"b": 2**64 - 1}], []], pa.list_(pa.struct([("b", pa.uint64())]))),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int8())),
        "json": pa.array(['{"a": 1}', None]),
        "said": pa.array(['{"a": 1.0}', "no JSON"], pa.json_()),
        "uuid": pa.array([b"0123456789abcdef", None], pa.uuid()),
    }
    table = pa.table(columns)
    job = parquet_job(tmp_path, [table])
    run_job(job, inline=True)
    stored = raygen.open_run(job.output_uri).to_arrow().select(table.column_names)
    for name in table.column_names:
        came = table.column(name).cast(pa.string()) if name in ("word", "said") else table.column(name)
        assert stored.column(name).type == came.type
        if name == "half":  # NaN equals nothing
            assert repr(stored.column(name).to_pylist()) == repr(came.to_pylist())
        else:
            assert stored.column(name).equals(came), name


@pytest.mark.parametrize(
    ("first", "then", "stored", "lost"),
    [
        (
            pa.array([0.5]),
            pa.array([2**53 + 1, 7]),
            [0.5, None, 7.0],
            "fractions (double) in this run, which cannot hold 9007199254740993",
        ),
        (
            pa.array([1]),
            pa.array([2**64 - 1, 7], pa.uint64()),
            [1, None, 7],
            "cannot hold 18446744073709551615",
        ),
        (
            pa.array([{"a": 0.5}]),
            pa.array([{"a": 2**53 + 1}, {"a": 7}]),
            [{"a": 0.5}, None, {"a": 7.0}],
            "cannot hold {'a': 9007199254740993}",
        ),
    ],
)
def test_what_files_do_not_agree_on_fails_its_row_before_it_is_asked_about(
    tmp_path: Path, asked: list[str], first: pa.Array, then: pa.Array, stored: list[Any], lost: str
) -> None:
    job = parquet_job(tmp_path, [pa.table({"v": first}), pa.table({"v": then})])
    assert run_job(job, inline=True).rows["failed"] == 1
    assert sorted(asked) == ["0-0", "1-1"]
    assert kept_in(job, "v") == stored
    messages = [row["error"] and row["error"]["message"] for row in raygen.open_run(job.output_uri).rows()]
    assert lost in messages[1]


def test_a_path_into_text_that_some_file_lacks_is_null_there(tmp_path: Path) -> None:
    texts = pa.array(['{"a": 12345678901234567890123}', '{"a": null}', "{}", None])
    job = parquet_job(tmp_path, [pa.table({"body": texts}), pa.table({"other": [1]})], keep={"body.a": "a"})
    run_job(job, inline=True)
    assert kept_in(job, "a") == [12345678901234567890123, None, None, None, None]


def test_columns_of_folders_are_kept_beside_those_of_rows(tmp_path: Path) -> None:
    for folder, row in (("lang=en", {"id": "a"}), ("lang=de", {"id": "b", "lang": 7})):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.jsonl").write_bytes(write_json(row))
    job = lines_job(tmp_path, [], keep=["lang"])
    (tmp_path / "in.jsonl").unlink()
    job = job.model_copy(
        update={"source": Source(format="jsonl", uri=str(tmp_path / "lang=*" / "*"), key="id")}
    )
    assert run_job(job, inline=True).rows["accepted"] == 2
    assert {row["row_id"]: row["lang"] for row in raygen.open_run(job.output_uri).rows()} == {
        "a": "en",
        "b": 7,
    }


def test_columns_are_kept_under_other_names(tmp_path: Path) -> None:
    rows = [{"id": "a", "status": "new", "error": {"e": 1}}, {"id": "b", "status": "old"}]
    job = lines_job(tmp_path, rows, keep={"status": "source_status", "error": "source_error"})
    run_job(job, inline=True)
    assert [(row["status"], row["source_status"]) for row in raygen.open_run(job.output_uri).rows()] == [
        ("accepted", "new"),
        ("accepted", "old"),
    ]
    assert kept_in(job, "source_error") == [{"e": 1}, None]
    with pytest.raises(ConfigError, match=r"keep it under another name: `keep: \{status: source_status\}`"):
        run_job(lines_job(tmp_path / "other", rows, keep=["status"]), inline=True)


def test_digits_reach_the_prompt_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = []
    generate = EchoEngine.generate

    async def heard(self: EchoEngine, request: Any) -> Any:
        prompts.append(request.messages[-1]["content"])
        return await generate(self, request)

    monkeypatch.setattr(EchoEngine, "generate", heard)
    numbers = [12345678901234567890123, -9223372036854775809, 2**64, int("9" * 400)]
    rows = [{"id": number, "q": number} for number in numbers]
    prompt = "{{ q }} {{ [q] | tojson }}"
    job = lines_job(tmp_path, rows, keep=[], steps=[{"generate": {"model": "writer", "prompt": prompt}}])
    assert run_job(job, inline=True).rows["accepted"] == 4
    assert sorted(prompts) == sorted(f"{number} [{number}]" for number in numbers)
    ids = [row["row_id"] for row in raygen.open_run(job.output_uri).rows()]
    assert ids == [str(number) for number in numbers]
    trace = trace_row(job.output_uri, ids[0])
    assert trace["input"]["q"] == numbers[0]
    assert json.loads(write_json(trace["input"]))["q"] == numbers[0]


def test_a_replay_finds_kept_values_that_are_not_what_came_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As runs of earlier versions may hold them, which bent values to fit."""
    values = [{"src": "web"}, {"src": "web", "license": "cc-by"}]
    job = lines_job(tmp_path, rows_of(values))
    kind = pa.struct([("src", pa.string())])
    with monkeypatch.context() as older:
        older.setattr(JsonLinesReader, "exact_types", lambda self, names: None)
        bent = {"kept": pa.array(values, kind)}
        older.setattr("raygen.program.host.kept_columns", lambda *given: (bent, {}))
        older.setattr("raygen.program.program.Program.check_columns", lambda *given: {"kept": kind})
        run_job(job, inline=True)
    assert kept_in(job) == [{"src": "web"}] * 2
    found = verify_run(job.output_uri, replay="100%")
    assert (found.ok, found.differing) == (False, 1)
    assert found.problems == ["row r1: came out otherwise when generated again"]
