"""Duplicates of a run: found once at its end, over the committed rows in their order; readers see them rejected."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import raygen
from raygen.errors import CorruptDataError, UnknownResultError, UserError
from raygen.pipeline import inline, run
from raygen.pipeline.retry import retry_run
from raygen.pipeline.run import RunResult, run_job
from raygen.program.job import Job
from raygen.reports.summary import report_data
from raygen.review.export import export_run
from raygen.review.show import show_rows
from raygen.review.verify import verify_run
from raygen.runs import duplicate_finder
from raygen.runs.collect import collect
from raygen.runs.commit import read_data
from raygen.runs.duplicates import PREFIX, SCHEMA, per_chunk, write_duplicates
from raygen.runs.manifest import Manifest
from raygen.runs.retries import read_merged
from raygen.runs.status import read_status
from raygen.storage import Store, open_store
from tests.exactly_once.memory_store import MemoryStore
from tests.runs.made import FailingStore, once

UNKNOWN = UnknownResultError("no answer")
LONG = "the quick brown fox jumps over the lazy dog while seven wise wizards watch from the old stone bridge at dawn"
TEXTS = [
    "one",  # 0, chunk 0
    LONG,
    "two",
    "ONE ",  # 3, chunk 1: of r0
    LONG.replace("dawn", "dusk"),  # like r1
    "three",
    "one",  # 6, chunk 2: of r0
    "too long " * 20,
    LONG,  # of r1
    "two",  # 9, chunk 3: of r2
    "four",
]
EXACT = {3: 0, 6: 0, 8: 1, 9: 2}
NEAR = {**EXACT, 4: 1}
NEAR_STEP = {"deduplicate": {"of": "{{ text }}", "near": {"similarity": 0.8}}}
EXACT_STEP = {"deduplicate": {"of": "{{ text }}", "exact": True}}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Job]:
    """Make a job over TEXTS (or others): three rows a chunk; row 7 is too long for the engine."""

    def made(step: dict[str, Any], name: str = "run", texts: list[str] = TEXTS, **changes: Any) -> Job:
        lines = [orjson.dumps({"id": f"r{n}", "text": text}) + b"\n" for n, text in enumerate(texts)]
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(lines))
        return Job.model_validate(
            {
                "name": "job",
                "source": {"format": "jsonl", "uri": str(tmp_path / f"{name}.jsonl"), "key": "id"},
                "models": {"m": {"family": "causal_lm", "engine": "echo", "options": {"context_tokens": 30}}},
                "steps": [{"generate": {"model": "m", "prompt": "{{ text }}"}}, step],
                "sink": {"chunk_rows": 3},
                "output": str(tmp_path / name),
                **changes,
            }
        )

    return made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without reports: they are looked at where they are the subject."""
    monkeypatch.setattr(run, "write_report", lambda store: None)
    monkeypatch.setattr("raygen.pipeline.retry.write_report", lambda store: None)


def seen(job: Job) -> dict[int, int]:
    """Row -> the row that it is a duplicate of, as the decisions say."""
    found = {}
    for row in raygen.open_run(job.output_uri).to_arrow().to_pylist(maps_as_pydicts="lossy"):
        decision = row["attempts"][-1]
        if row["reason"] == "duplicate":
            assert row["status"] == "rejected"
            assert (decision["step"], decision["decision"]) == ("deduplicate", "duplicate")
            found[int(row["row_id"][1:])] = int(decision["detail"].rpartition(" r")[2])
        else:
            assert decision["decision"] != "duplicate"
    return found


@pytest.mark.parametrize(("step", "expected"), [(EXACT_STEP, EXACT), (NEAR_STEP, NEAR)])
def test_the_first_row_stays_and_later_ones_are_its_duplicates(
    make: Callable[..., Job], step: dict[str, Any], expected: dict[int, int]
) -> None:
    job = make(step)
    result = run_job(job, inline=True)
    assert seen(job) == expected
    counts = {"total": 11, "accepted": 10 - len(expected), "rejected": len(expected), "failed": 1}
    assert result.rows == raygen.open_run(job.output_uri).counts == counts
    store = open_store(job.output_uri)
    assert read_status(store).rows == Manifest.load(store).rows == counts
    assert verify_run(job.output_uri, "100%").lines() == [
        "11 outcomes of 11 rows in 4 chunks: sound",
        "replayed 11 rows: 0 differ",
    ]


def test_the_decision_says_how_much_alike(make: Callable[..., Job]) -> None:
    job = make({**NEAR_STEP, "name": "unique"})
    run_job(job, inline=True)
    rows = raygen.open_run(job.output_uri).to_arrow().to_pylist(maps_as_pydicts="lossy")
    same, like = rows[3]["attempts"][-1], rows[4]["attempts"][-1]
    assert (same["step"], same["detail"], same["scores"]) == (
        "unique",
        "the same text as row r0",
        {"similarity": 1.0},
    )
    assert 0.8 <= like["scores"]["similarity"] < 1
    assert like["detail"] == f"{like['scores']['similarity']:.0%} alike to row r1"
    assert rows[4]["samples"]
    assert [len(row["attempts"]) for row in rows[:4]] == [1, 1, 1, 2]


def test_the_object_says_it_and_the_data_stays_as_it_was(make: Callable[..., Job]) -> None:
    job = make(EXACT_STEP)
    run_job(job, inline=True)
    store = open_store(job.output_uri)
    table = pq.read_table(io.BytesIO(store.get(key_of(store))))
    assert table.schema.equals(SCHEMA)
    assert [(row["chunk"], row["row"], row["row_id"], row["of"]) for row in table.to_pylist()] == [
        (1, 0, "r3", "r0"),
        (2, 0, "r6", "r0"),
        (2, 2, "r8", "r1"),
        (3, 0, "r9", "r2"),
    ]
    told = Manifest.load(store).duplicates
    assert told is not None
    assert (told.rows, told.chunks) == (4, [[1, 1], [2, 2], [3, 1]])
    raw = read_data(*read_merged(store).chunks[1])
    assert raw.column("status").to_pylist() == ["accepted"] * 3


def test_readers_go_by_it(make: Callable[..., Job], tmp_path: Path) -> None:
    job = make(EXACT_STEP)
    run_job(job, inline=True)
    uri = job.output_uri
    accepted = ["r0", "r1", "r2", "r4", "r5", "r10"]
    shown = [orjson.loads(line) for line in show_rows(uri, 99, "accepted", True)]
    assert [row["row_id"] for row in shown] == accepted
    assert "fingerprint" not in shown[0]
    assert len(list(show_rows(uri, 99, "rejected", True))) == 4
    assert next(iter(show_rows(uri, 1, "rejected", False))).startswith("r3  rejected (duplicate)")
    for form in ("jsonl", "parquet", "webdataset"):
        assert export_run(uri, form, str(tmp_path / form), "accepted") == (6, 1)
    view = raygen.open_run(uri)
    assert view.to_arrow().schema.equals(view.schema)
    assert sum(table.num_rows for table in view.tables()) == 11
    with pytest.raises(UserError, match=r"4 rows are duplicates.*to_arrow\(\)"):
        view.dataset()
    data = report_data(open_store(uri))
    assert (data.rows.accepted, data.reasons) == (6, {"duplicate": 4})
    assert [card.reason for card in data.samples if card.status == "rejected"] == ["duplicate"] * 4


def test_a_run_without_duplicates_reads_like_any_other(make: Callable[..., Job]) -> None:
    job = make(EXACT_STEP, texts=["a", "b", "c", "d"])
    run_job(job, inline=True)
    view = raygen.open_run(job.output_uri)
    assert view.dataset().to_table().num_rows == 4
    assert view.counts["accepted"] == 4
    told = view.manifest.duplicates
    assert told is not None
    assert (told.rows, told.chunks) == (0, [])
    assert verify_run(job.output_uri).ok


def test_nothing_but_the_rows_decides(make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks committed in any order, by one session or three, a few at once: the same object, byte for byte."""
    luck = random.Random(5)
    texts = [
        luck.choice(TEXTS[:3] + [LONG.replace("dawn", word) for word in ("noon", "night")]) for _ in range(40)
    ]
    jobs = [
        make(NEAR_STEP, f"run{n}", texts, execution={"chunks_in_flight": wide})
        for n, wide in enumerate([1, 3, 8])
    ]
    run_job(jobs[0], inline=True)

    class Shuffled(inline.InlineExecution):
        def __init__(self, work: Any, todos: list[Any]) -> None:
            flat = [todo for group in todos for todo in group]
            luck.shuffle(flat)
            super().__init__(work, [[todo] for todo in flat])

    monkeypatch.setattr(inline, "InlineExecution", Shuffled)
    for job in jobs[1:]:
        run_job(job, inline=True)
    found = [open_store(job.output_uri).get(key_of(open_store(job.output_uri))) for job in jobs]
    assert found[0] == found[1] == found[2]
    assert len(seen(jobs[0])) > 30


def key_of(store: Store) -> str:
    told = Manifest.load(store).duplicates
    assert told is not None
    return told.data


class Died(BaseException):
    """The process is gone: nothing of raygen's gets to say a word."""


MOMENTS = ["finding", "before the object", "after the object", "before the manifest", "after the manifest"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_finish_that_dies_is_done_again(
    make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    whole = make(NEAR_STEP, "whole")
    run_job(whole, inline=True)
    job = make(NEAR_STEP)
    with monkeypatch.context() as patch:
        put = type(open_store(job.output_uri)).put_if_absent

        def dying(self: Store, key: str, data: bytes) -> bool:
            about = "object" if key.startswith(PREFIX) else key.removesuffix(".json")
            if moment == f"before the {about}":
                raise Died
            created = put(self, key, data)
            if moment == f"after the {about}":
                raise Died
            return created

        patch.setattr(type(open_store(job.output_uri)), "put_if_absent", dying)
        if moment == "finding":
            patch.setattr(
                duplicate_finder.DuplicateFinder,
                "found",
                lambda self: (_ for _ in ()).throw(Died),
            )
        with pytest.raises(Died):
            run_job(job, inline=True)
    stands = open_store(job.output_uri).exists("manifest.json")
    assert stands == (moment == "after the manifest")
    assert run_job(job, inline=True).rows["rejected"] == len(NEAR)
    assert seen(job) == NEAR
    stores = [open_store(each.output_uri) for each in (whole, job)]
    assert stores[0].get(key_of(stores[0])) == stores[1].get(key_of(stores[1]))
    assert verify_run(job.output_uri).ok


def test_two_drivers_that_finish_at_once_agree(
    make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make(NEAR_STEP)
    real, entered, other = run.write_duplicates, [], []

    def second_first(store: Store, table: pa.Table) -> Any:
        entered.append(store)
        if len(entered) == 1:
            other.append(run_job(job, inline=True))
        return real(store, table)

    monkeypatch.setattr(run, "write_duplicates", second_first)
    assert run_job(job, inline=True).rows == other[0].rows
    assert len(entered) == 2
    assert seen(job) == NEAR


TABLE = pa.Table.from_pylist(
    [{"chunk": 0, "row": 1, "row_id": "b", "of": "a", "similarity": 1.0, "digest": b"x"}], SCHEMA
)


@pytest.mark.parametrize("after", [(), ("put_if_absent",)])
def test_an_unknown_result_is_settled_by_writing_again(after: tuple[str, ...]) -> None:
    store = FailingStore(once("put_if_absent", UNKNOWN), after)
    told = write_duplicates(store, TABLE)
    assert told.chunks == per_chunk(TABLE) == [[0, 1]]
    with pytest.raises(UnknownResultError, match="run again"):
        write_duplicates(FailingStore(once("put_if_absent", UNKNOWN, 100)), TABLE)


def test_a_damaged_object_in_its_place_is_not_taken() -> None:
    store = MemoryStore()
    told = write_duplicates(store, TABLE)
    assert write_duplicates(store, TABLE) == told
    assert write_duplicates(store, TABLE.slice(0, 0)).data != told.data
    store.put(told.data, b"no parquet")
    with pytest.raises(CorruptDataError, match=r"duplicates-.*\.parquet is damaged; remove it and run again"):
        write_duplicates(store, TABLE)


def _flip(store: Store) -> None:
    data = bytearray(store.get(key_of(store)))
    data[len(data) // 2] ^= 1
    store.put(key_of(store), bytes(data))


def _untrue(store: Store) -> None:
    """An object and a manifest that fit together and name the wrong rows."""
    manifest = Manifest.load(store)
    told = write_duplicates(store, pq.read_table(io.BytesIO(store.get(key_of(store)))).slice(1))
    changed = Manifest(
        **{**{n: getattr(manifest, n) for n in manifest.__dataclass_fields__}, "duplicates": told}
    )
    store.put("manifest.json", changed.dump())


def _missing(store: Store) -> None:
    manifest = Manifest.load(store)
    fields = {n: getattr(manifest, n) for n in manifest.__dataclass_fields__}
    store.put("manifest.json", Manifest(**{**fields, "duplicates": None}).dump())


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (_flip, "do not match the SHA-256 of the manifest"),
        (_untrue, "other rows are duplicates than it says"),
        (_missing, "do not agree on whether duplicates are looked for"),
    ],
)
def test_verify_finds_what_is_wrong(
    make: Callable[..., Job], spoil: Callable[[Store], None], problem: str
) -> None:
    job = make(EXACT_STEP)
    run_job(job, inline=True)
    store = open_store(job.output_uri)
    spoil(store)
    found = verify_run(job.output_uri)
    assert not found.ok
    assert problem in " ".join(found.problems)


def test_a_flipped_object_is_not_read(make: Callable[..., Job]) -> None:
    job = make(EXACT_STEP)
    run_job(job, inline=True)
    _flip(open_store(job.output_uri))
    with pytest.raises(CorruptDataError, match=r"duplicates-"):
        raygen.open_run(job.output_uri).to_arrow()


def again(job: Job, *overrides: str) -> RunResult:
    return retry_run(job.output_uri, overrides, inline=True, display=None, say=lambda line: None)


def test_a_retry_finds_duplicates_as_if_the_rows_had_not_failed(make: Callable[..., Job]) -> None:
    late = ["long " * 40, "b", "LONG " * 40, "long " * 40, "B", "c"]
    job = make(EXACT_STEP, texts=[*late, "long " * 40])
    run_job(job, inline=True)
    assert seen(job) == {4: 1}
    result = again(job, "models.m.options.context_tokens=300")
    assert seen(job) == {2: 0, 3: 0, 4: 1, 6: 0}
    assert result.rows == {"total": 7, "accepted": 3, "rejected": 4, "failed": 0}
    store = open_store(job.output_uri)
    assert read_status(store).rows == result.rows
    assert len(read_merged(store).chunks) == 3
    assert Manifest.load(store.child("retries/0001")).rows == result.rows
    assert verify_run(job.output_uri).ok
    assert store.exists(f"retries/0001/{key_of(store.child('retries/0001'))}")


def test_a_row_that_came_back_can_be_the_one_that_stays(make: Callable[..., Job]) -> None:
    step = {"deduplicate": {"of": "{{ text[:4] }}", "exact": True}}
    job = make(step, texts=["same " * 40, "b", "c", "same", "d"])
    run_job(job, inline=True)
    assert seen(job) == {}
    again(job, "models.m.options.context_tokens=300")
    assert seen(job) == {3: 0}
    assert read_merged(open_store(job.output_uri)).rows["accepted"] == 4
    assert verify_run(job.output_uri).ok


def test_a_retry_keeps_the_step(make: Callable[..., Job]) -> None:
    job = make(NEAR_STEP)
    run_job(job, inline=True)
    with pytest.raises(UserError, match="a retry keeps the run's `deduplicate` step"):
        again(job, "steps.1.deduplicate.near.permutations=64")
    assert not open_store(job.output_uri).exists("retries/0001/plan.json")


def test_an_unfinished_run_shows_its_rows_as_they_are(
    make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make(EXACT_STEP)
    monkeypatch.setattr(run, "finish", lambda *args: (_ for _ in ()).throw(Died))
    with pytest.raises(Died):
        run_job(job, inline=True)
    assert len(list(show_rows(job.output_uri, 99, "accepted", True))) == 10
    assert read_status(open_store(job.output_uri)).rows["accepted"] == 10
    assert verify_run(job.output_uri).ok


def wanting(make: Callable[..., Job], target: int, name: str = "run") -> Job:
    return make(EXACT_STEP, name, accept={"target": target}, execution={"chunks_in_flight": 1})


def test_a_run_that_wants_a_number_of_rows_does_not_count_duplicates(make: Callable[..., Job]) -> None:
    """Of chunks of 3, 3, 2 and 2 accepted rows the first two have 5 that are no duplicates, all have 6."""
    job = wanting(make, 5, "five")
    result = run_job(job, inline=True)
    assert result.rows == {"total": 6, "accepted": 5, "rejected": 1, "failed": 0}
    job = wanting(make, 6, "six")
    result = run_job(job, inline=True)
    assert result.acceptance is not None
    assert result.acceptance.line == "enough: 6 accepted of 6 wanted"
    assert (result.rows["total"], verify_run(job.output_uri).problems) == (11, [])
    result = run_job(wanting(make, 7, "seven"), inline=True)
    assert result.acceptance is not None
    assert result.acceptance.line.startswith("not enough: 6 accepted of 7 wanted")


def test_a_driver_that_died_with_enough_rows_leaves_an_object_that_is_collected(
    make: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = wanting(make, 5)
    store = open_store(job.output_uri)
    with monkeypatch.context() as patch:
        patch.setattr(run, "finish", lambda *args: (_ for _ in ()).throw(Died))
        with pytest.raises(Died):
            run_job(job, inline=True)
    (left,) = [info.key for info in store.list(PREFIX)]
    # Another driver meanwhile commits one more chunk: other chunks are in, other rows are duplicates.
    with monkeypatch.context() as patch:
        patch.setattr("raygen.runs.enough.Target.reached", False)
        patch.setattr(run, "finish", lambda *args: (_ for _ in ()).throw(Died))
        with pytest.raises(Died):
            run_job(job, inline=True)
    assert run_job(job, inline=True).rows == {"total": 11, "accepted": 6, "rejected": 4, "failed": 1}
    assert key_of(store) != left
    far_s = time.time() + 1e9
    assert left in collect(store, 0, now_s=far_s).removed
    assert [info.key for info in store.list(PREFIX)] == [key_of(store)]
    assert verify_run(job.output_uri).ok
