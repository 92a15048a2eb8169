"""Other people's data: what a job makes of sources that were never written for it."""

from __future__ import annotations

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
from raygen.errors import ConfigError, SourceError
from raygen.pipeline.run import run_job
from raygen.program.job import Job
from raygen.review.show import show_rows


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The messages of every row, as the engine got them."""
    found: dict[str, Any] = {}
    generate = EchoEngine.generate

    async def noted(self: EchoEngine, request: GenerateRequest) -> GenerateResult:
        found[request.row_id] = request.messages
        return await generate(self, request)

    monkeypatch.setattr(EchoEngine, "generate", noted)
    monkeypatch.setattr("raygen.pipeline.run.write_report", lambda store: "report.html")
    return found


def run(
    tmp_path: Path,
    source: dict[str, Any],
    step: dict[str, Any],
    keep: list[str],
    say: Callable[[str], None] = print,
) -> pa.Table:
    job = {
        "name": "others",
        "source": source,
        "models": {"writer": {"family": "causal_lm", "engine": "echo"}},
        "steps": [{"generate": {"model": "writer", **step}}],
        "keep": keep,
        "output": str(tmp_path / "out"),
    }
    run_job(Job.model_validate(job), inline=True, say=say)
    return raygen.open_run(str(tmp_path / "out")).to_arrow()


REQUESTS = [
    {
        "custom_id": f"request-{n}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "gpt",
            "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"Say {n}"}],
            "tools": [{"type": "function", "function": {"name": f"f{n}"}}],
            "max_tokens": 5,
        },
    }
    for n in range(3)
]


def batch_file(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / f"requests.{kind.partition('-')[0]}"
    text = [{**each, "body": json.dumps(each["body"])} for each in REQUESTS]
    if kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, REQUESTS)))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(REQUESTS), path)
    elif kind == "parquet-text":
        pq.write_table(pa.Table.from_pylist(text), path)
    else:
        lines = [
            ",".join(f'"{value.replace(chr(34), chr(34) * 2)}"' for value in each.values()) for each in text
        ]
        path.write_text("\n".join([",".join(text[0]), *lines]))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "parquet-text", "csv"])
def test_files_of_batch_requests_run_as_they_are(tmp_path: Path, asked: dict[str, Any], kind: str) -> None:
    path = batch_file(tmp_path, kind)
    source = {"format": path.suffix[1:], "uri": str(path), "key": "custom_id"}
    typed = kind in ("jsonl", "parquet")
    keep = ["method", "body.model"] if typed else ["method"]
    said: list[str] = []
    table = run(tmp_path, source, {"messages": "body.messages", "tools": "body.tools"}, keep, said.append)
    assert asked == {each["custom_id"]: each["body"]["messages"] for each in REQUESTS}
    assert table.column("row_id").to_pylist() == ["request-0", "request-1", "request-2"]
    if typed:
        assert table.column("body.model").to_pylist() == ["gpt"] * 3
        assert said[0].startswith(
            "steps.0.generate.messages: what else stands in 'body' is not taken: model, max_tokens; how the model is asked"
        )


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_source_without_rows_is_finished_and_said(tmp_path: Path, asked: dict[str, Any], kind: str) -> None:
    path = tmp_path / f"today.{kind}"
    if kind == "csv":
        path.write_text("id,q\n")
    else:
        pq.write_table(pa.table({"id": pa.array([], pa.string()), "q": pa.array([], pa.string())}), path)
    said: list[str] = []
    source = {"format": kind, "uri": str(path), "key": "id"}
    assert run(tmp_path, source, {"prompt": "{{ q }}"}, [], said.append).num_rows == 0
    assert said == [f"the source holds no rows ({path}): there is nothing to do"]
    (line,) = show_rows(str(tmp_path / "out"), 5, None, as_json=False)
    assert line == "no rows: the source of this finished run held none"


def test_a_key_may_stand_inside_a_column(tmp_path: Path, asked: dict[str, Any]) -> None:
    rows = [{"meta": {"id": n, "x": "y"}, "q": "a"} for n in (7, 8)]
    for kind in ("jsonl", "parquet"):
        (tmp_path / kind).mkdir()
        path = tmp_path / kind / f"rows.{kind}"
        if kind == "jsonl":
            path.write_text("\n".join(map(json.dumps, rows)))
        else:
            pq.write_table(pa.Table.from_pylist(rows), path)
        source = {"format": kind, "uri": str(path), "key": "meta.id"}
        table = run(tmp_path / kind, source, {"prompt": "{{ q }}"}, ["meta.x"])
        assert table.select(["row_id", "meta.x"]).to_pydict() == {"row_id": ["7", "8"], "meta.x": ["y", "y"]}


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    source = {"format": "jsonl", "uri": str(batch_file(tmp_path, "jsonl"))}
    with pytest.raises(
        ConfigError, match=r"has no column 'body\.mesages' \(did you mean 'body\.messages'\?\)"
    ):
        run(tmp_path, source, {"messages": "body.mesages"}, [])


@pytest.mark.parametrize("kind", ["parquet-text", "csv"])
def test_a_kept_value_inside_text_is_stored_as_json(tmp_path: Path, asked: dict[str, Any], kind: str) -> None:
    path = batch_file(tmp_path, kind)
    source = {"format": path.suffix[1:], "uri": str(path)}
    table = run(
        tmp_path, source, {"messages": "body.messages"}, ["body.model", "body.max_tokens", "body.messages"]
    )
    assert table.column("body.model").to_pylist() == ['"gpt"'] * 3
    rows = list(raygen.open_run(str(tmp_path / "out")).rows())
    assert [row["body.messages"] for row in rows] == [each["body"]["messages"] for each in REQUESTS]
    assert [row["body.max_tokens"] for row in rows] == [5, 5, 5]


def drifting(tmp_path: Path) -> dict[str, Any]:
    """Two files whose columns `v` and `meta.v` clash."""
    for name, value in (("p0", 1), ("p1", "one")):
        rows = [{"id": name, "text": f"of {name}", "v": value, "meta": {"v": value, "w": name}}]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    return {"format": "parquet", "uri": str(tmp_path / "*.parquet"), "key": "id"}


def test_columns_that_nobody_reads_may_clash(tmp_path: Path, asked: dict[str, Any]) -> None:
    table = run(tmp_path, drifting(tmp_path), {"prompt": "{{ text }}"}, ["meta.w"])
    assert table.select(["row_id", "meta.w"]).to_pydict() == {"row_id": ["p0", "p1"], "meta.w": ["p0", "p1"]}
    assert {name: each[0]["content"] for name, each in asked.items()} == {"p0": "of p0", "p1": "of p1"}


@pytest.mark.parametrize(
    ("prompt", "keep", "column"),
    [
        ("{{ text }} {{ v }}", [], "'v' is string; in p0.parquet it is int64"),
        ("{{ text }}", ["v"], "'v' is string; in p0.parquet it is int64"),
        ("{{ text }}", ["meta.v"], r"'meta\.v' is string; in p0.parquet it is int64"),
        ("{{ meta }}", [], "'meta' is struct<.*; in p0.parquet it is struct<"),
    ],
)
def test_columns_that_are_read_may_not(tmp_path: Path, prompt: str, keep: list[str], column: str) -> None:
    with pytest.raises(SourceError, match=rf"p1\.parquet: column {column}"):
        run(tmp_path, drifting(tmp_path), {"prompt": prompt}, keep)


def test_folders_give_columns_to_prompts_and_to_outcomes(tmp_path: Path, asked: dict[str, Any]) -> None:
    for lang in ("en", "de"):
        (tmp_path / f"in/lang={lang}/year=2024").mkdir(parents=True)
        path = tmp_path / f"in/lang={lang}/year=2024/part-0.parquet"
        pq.write_table(pa.table({"id": [lang], "q": ["x"]}), path)
    source = {"format": "parquet", "uri": str(tmp_path / "in"), "key": "id"}
    table = run(tmp_path, source, {"prompt": "{{ q }} in {{ lang }}"}, ["year"])
    assert {row: messages[0]["content"] for row, messages in asked.items()} == {
        "de": "x in de",
        "en": "x in en",
    }
    assert table.column("year").to_pylist() == ["2024", "2024"]


def test_a_missing_column_is_told_beside_those_of_folders(tmp_path: Path) -> None:
    (tmp_path / "in/lang=en/year=2024").mkdir(parents=True)
    pq.write_table(pa.table({"id": ["1"], "q": ["x"]}), tmp_path / "in/lang=en/year=2024/p.parquet")
    source = {"format": "parquet", "uri": str(tmp_path / "in"), "key": "id"}
    with pytest.raises(ConfigError, match=r"'yaer' \(did you mean 'year'\?\); columns: id, q, lang, year$"):
        run(tmp_path, source, {"prompt": "{{ q }}"}, ["yaer"])


def test_a_step_may_write_what_a_folder_is_called(tmp_path: Path, asked: dict[str, Any]) -> None:
    (tmp_path / "in/topic=a").mkdir(parents=True)
    pq.write_table(pa.table({"id": ["1"], "q": ["x"]}), tmp_path / "in/topic=a/p.parquet")
    source = {"format": "parquet", "uri": str(tmp_path / "in"), "key": "id"}
    run(tmp_path, source, {"prompt": "{{ q }}", "into": "topic"}, [])
    assert len(asked) == 1


def test_pictures_as_hugging_face_stores_them_are_sent(tmp_path: Path, asked: dict[str, Any]) -> None:
    png, face = b"\x89PNG\r\n", pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": png, "path": "a.png"}, {"bytes": None, "path": "/etc/passwd"}]
    table = pa.table(
        {"id": ["a", "b"], "image": pa.array(rows, face), "more": pa.array([rows[:1], []], pa.list_(face))}
    )
    pq.write_table(table, tmp_path / "p.parquet")
    source = {"format": "parquet", "uri": str(tmp_path / "p.parquet"), "key": "id"}
    outcomes = run(tmp_path, source, {"prompt": "what?", "images": ["image", "more"]}, ["image", "more"])
    assert outcomes.column("status").to_pylist() == ["accepted", "failed"]
    assert [part["type"] for part in asked["a"][0]["content"]] == ["image_url", "image_url", "text"]
    assert (
        outcomes.column("error")[1]
        .as_py()["message"]
        .startswith("column 'image' holds no bytes in this row, only the path")
    )
    assert outcomes.column("image").to_pylist() == rows
