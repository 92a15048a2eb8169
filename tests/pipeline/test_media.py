"""Jobs whose samples are media, from the input to readers: inside the tables or beside them, retried, reused and exported."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

import raygen
from raygen.data.sources.tar import Member, members
from raygen.engines.echo_pictures import echo_picture
from raygen.pipeline.retry import retry_run
from raygen.pipeline.run import run_job
from raygen.program.job import Job
from raygen.review.export import export_run
from raygen.review.show import show_rows
from raygen.review.trace import trace_row
from raygen.review.trace_tree import print_trace
from raygen.review.verify import verify_run
from raygen.runs.collect import collect
from raygen.runs.retries import read_merged
from raygen.steps.row.seeds import seed_of
from raygen.storage import open_store

ROWS, SIZE = 20, 30_000
HOSTILE = "../../etc/passwd\n.é/0.png"
SMALL = {"chunk_rows": 8, "chunk_bytes": 2**16, "max_sample_bytes": 2**16}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty rows; every fifth prompt is longer than the engine's context."""
    rows = [
        {"id": HOSTILE if n == 3 else f"r{n}", "text": "w " * (30 if n % 5 == 4 else 2) + str(n)}
        for n in range(ROWS)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def job(source: Path, output: Path, steps: list[dict[str, Any]] | None = None, **more: Any) -> Job:
    options = {"media_bytes": SIZE, "context_tokens": 10, **more.pop("options", {})}
    render = {"model": "m", "prompt": "{{ text }}", "samples": 2, "render": {"size": [16, 8]}}
    return Job.model_validate(
        {
            "name": "pictures",
            "source": {"format": "jsonl", "uri": str(source), "key": "id"},
            "models": {"m": {"family": "diffusion", "engine": "echo", "options": options}},
            "steps": [{"generate": render}, *(steps or [])],
            "sink": {**SMALL, **more.pop("sink", {})},
            "output": str(output),
            **more,
        }
    )


def pictures(run: raygen.RunView) -> dict[str, list[bytes | None]]:
    return {row["row_id"]: [run.media(sample) for sample in row["samples"]] for row in run.rows()}


def expected(row: str, text: str) -> list[bytes]:
    return [echo_picture(text, seed_of(0, row, n, 0, "generate"), 16, 8, SIZE) for n in range(2)]


@pytest.mark.parametrize("media", ["inside", "beside"])
def test_media_come_out_as_they_were_made(source: Path, tmp_path: Path, media: str) -> None:
    sink = {"media": media, "chunk_bytes": 2**20 if media == "inside" else 2**16}
    assert run_job(job(source, tmp_path / "run", sink=sink), inline=True).rows["accepted"] == 16
    run = raygen.open_run(str(tmp_path / "run"))
    found = pictures(run)
    assert found["r0"] == expected("r0", "w w 0")
    assert found[HOSTILE] == expected(HOSTILE, "w w 3")
    assert found["r4"] == []
    sample = next(run.rows())["samples"][0]
    told = {key: sample[key] for key in ("media_type", "width", "height", "seconds", "size_bytes", "text")}
    assert told == {
        "media_type": "image/png", "width": 16, "height": 8, "seconds": None, "size_bytes": SIZE, "text": None,
    }  # fmt: skip
    assert sample["usage"]["units"] == [("images", 1.0)] or sample["usage"]["units"] == {"images": 1.0}
    assert (sample["media"] is None) == (media == "beside")
    assert run.manifest.chunks[0].objects == () or media == "beside"
    assert verify_run(str(tmp_path / "run"), replay="100%").ok


def test_an_archive_holds_no_more_than_it_may_and_says_what_is_in_it(source: Path, tmp_path: Path) -> None:
    run_job(job(source, tmp_path / "run", sink={"media": "beside"}), inline=True)
    archives = sorted((tmp_path / "run" / "data").glob("*.tar"))
    assert len(archives) > 6
    named = {
        held.key for each in raygen.open_run(str(tmp_path / "run")).manifest.chunks for held in each.objects
    }
    assert named == {f"data/{path.name}" for path in archives}
    ids = set()
    for path in archives:
        assert path.stat().st_size <= 2**16 + 4096
        with path.open("rb") as file:
            inside = [each for each in members(file, 0, path.stat().st_size) if isinstance(each, Member)]
            assert all(re.fullmatch(r"[\w-]+\.(png|json)", each.name, re.ASCII) for each in inside)
            for picture, about in zip(inside[::2], inside[1::2], strict=True):
                assert picture.name.rpartition(".")[0] == about.name.rpartition(".")[0]
                file.seek(about.data)
                told = json.loads(file.read(about.size_bytes))
                file.seek(picture.data)
                assert hashlib.sha256(file.read(picture.size_bytes)).hexdigest() == told["sha256"]
                ids.add(told["row_id"])
    assert len(ids) == 16
    assert HOSTILE in ids


def test_a_retry_names_the_archives_of_the_run_and_copies_none(source: Path, tmp_path: Path) -> None:
    """Twice: the second retry names archives of both before it."""
    store = open_store(str(tmp_path / "run"))
    run_job(job(source, tmp_path / "run", sink={"media": "beside"}), inline=True)
    for words in (10, 40):  # the first retry mends nothing
        setting = [f"models.m.options.context_tokens={words}"]
        retry_run(str(tmp_path / "run"), setting, inline=True, display=None, say=lambda line: None)
    merged = read_merged(store)
    assert merged.rows["accepted"] == 20
    assert {held.run for _, commit in merged.chunks for held in commit.objects} >= {"", None}
    before = pictures(raygen.open_run(str(tmp_path / "run")))
    assert before["r4"] == expected("r4", "w " * 30 + "4")
    assert before[HOSTILE] == expected(HOSTILE, "w w 3")
    assert collect(store, 0, now_s=4e9).removed == []
    assert verify_run(str(tmp_path / "run")).ok


def test_recorded_media_are_reused_and_none_that_changed(source: Path, tmp_path: Path) -> None:
    run_job(job(source, tmp_path / "before", sink={"media": "beside"}), inline=True)
    archive = next((tmp_path / "before" / "data").glob("00000001-*-0.tar"))
    changed = bytearray(archive.read_bytes())
    changed[600] ^= 1
    archive.write_bytes(changed)
    after = job(
        source,
        tmp_path / "after",
        steps=[{"select": {"first": 1}}],
        execution={"reuse": str(tmp_path / "before")},
    )
    result = run_job(after, inline=True)
    assert result.calls == {"reused": 15, "computed": 1}
    found = pictures(raygen.open_run(str(tmp_path / "after")))
    assert found["r0"] == expected("r0", "w w 0")[:1]
    assert all(len(each) == 1 for each in found.values() if each)
    assert verify_run(str(tmp_path / "after")).ok


def test_a_sample_that_is_too_large_fails_its_row(source: Path, tmp_path: Path) -> None:
    run_job(job(source, tmp_path / "run", sink={"max_sample_bytes": SIZE - 1}), inline=True)
    row = next(raygen.open_run(str(tmp_path / "run")).rows())
    assert (row["status"], row["reason"]) == ("failed", "media_too_large")
    assert "sink.max_sample_bytes allows 29,999" in row["error"]["message"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"verify": {"length": {"at_least": 1}}}, "steps.1.verify: it works on texts"),
        ({"score": {"length": "words"}}, "steps.1.score: it works on texts"),
        ({"select": {"majority": True}}, "steps.1.select: it works on texts"),
        ({"deduplicate": {"exact": True}}, "steps.1.deduplicate: it works on texts"),
    ],
)
def test_steps_that_need_texts_are_refused_by_name(
    source: Path, tmp_path: Path, step: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        job(source, tmp_path, steps=[step])


def test_how_texts_are_sampled_is_not_said_of_media(source: Path, tmp_path: Path) -> None:
    whole = job(source, tmp_path).model_dump(mode="json", exclude_none=True)
    assert Job.model_validate(whole).steps == job(source, tmp_path).steps  # as a plan keeps it
    whole["steps"][0]["generate"]["sampling"]["temperature"] = 0.5
    with pytest.raises(ValidationError, match=r"`sampling` .texts. or `render` .media., not both"):
        Job.model_validate(whole)


@pytest.mark.parametrize("media", ["inside", "beside"])
def test_people_and_other_programs_get_them(source: Path, tmp_path: Path, media: str) -> None:
    run_job(job(source, tmp_path / "run", sink={"media": media, "chunk_bytes": 2**20}), inline=True)
    uri = str(tmp_path / "run")
    *_, shown, _, last = show_rows(uri, 1, None, False)
    assert shown == "    0: [image/png, 16 x 8, 30,000 bytes]"
    assert last == f"to get the files: raygen export {uri} --format webdataset --to DIR"
    traced = trace_row(uri, "r0")
    assert '"render"' in json.dumps(traced, default=str)
    tree = io.StringIO()
    print_trace(traced, as_json=False, file=tree)
    assert "samples=2 render.size=[16, 8]" in tree.getvalue()
    assert export_run(uri, "webdataset", str(tmp_path / "tar"), "accepted") == (16, 1)
    assert export_run(uri, "parquet", str(tmp_path / "parquet"), "accepted") == (16, 1)
    rows = pq.read_table(tmp_path / "parquet" / "part-00000.parquet").to_pylist()
    assert [sample["media"] for sample in rows[0]["samples"]] == expected("r0", "w w 0")
    with (tmp_path / "tar" / "part-00000.tar").open("rb") as file:
        names = [each.name for each in members(file, 0, 2**21) if isinstance(each, Member)]
    assert names[:3] == ["00000000-r0.0.png", "00000000-r0.1.png", "00000000-r0.json"]


def test_the_example_of_the_page_on_outcomes(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "outcomes.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    run_job(job(source, tmp_path / "runs" / "pictures"), inline=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"raygen": raygen}
    exec(compile(code, "outcomes.md", "exec"), names)
    assert names["data"] == expected("r18", "w w 18")[1]
