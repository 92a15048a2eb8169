"""R5: a store that answers badly costs time, never a row; and a flipped bit is always reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import raygen
from raygen.errors import CorruptDataError
from raygen.pipeline.run import run_job
from raygen.review.verify import verify_run
from raygen.runs.collect import collect
from raygen.storage import open_store, sealed
from tests.exactly_once.failpoints import Fault
from tests.exactly_once.flips import unnoticed_flips
from tests.exactly_once.matrix import Case, judge
from tests.exactly_once.mutants import flipped
from tests.exactly_once.oracle import Expected, Row, judge_finished, judge_rows
from tests.exactly_once.places import Bucket, Directory, Place
from tests.exactly_once.sessions import SEED, echo_job
from tests.exactly_once.workers import Templates
from tests.fakes.fault_s3 import Faults, FaultS3

CHUNKS = 60


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is corrupt in the store stays so, however long one waits before asking again."""
    monkeypatch.setattr(sealed, "time", SimpleNamespace(sleep=lambda seconds: None))


def unlucky_seed(faults: Faults) -> int:
    """A seed by which commits meet both a lost answer and a conflict, the two rarest and worst."""
    for seed in range(1000):
        drawn = {
            Faults(**{**vars(faults), "seed": seed}).draw(
                "PUT", f"run/commits/{chunk:08d}.json", 1, "PUT object once"
            )
            for chunk in range(CHUNKS)
        }
        if {"lost_answer", "conflict_409"} <= drawn:
            return seed
    raise AssertionError("no such seed")


@pytest.mark.parametrize("refined", [False, True], ids=["one-step", "refined"])
def test_a_store_that_answers_badly_costs_no_row(
    tmp_path: Path, say: Callable[[str], None], refined: bool
) -> None:
    rates = Faults(error_503=0.05, lost_answer=0.01, conflict_409=0.005, latency_s=0.002)
    faults = Faults(**{**vars(rates), "seed": unlucky_seed(rates)})
    rows = [Row(f"r{n}", f"row number {n}", False) for n in range(CHUNKS * 6)]
    source = tmp_path / "source"
    source.mkdir()
    lines = [f'{{"id": "{row.id}", "text": "{row.prompt}"}}\n' for row in rows]
    (source / "rows.jsonl").write_text("".join(lines))
    chunks = tuple(tuple(rows[at : at + 6]) for at in range(0, len(rows), 6))
    expected = Expected(chunks, SEED, 2, refined=refined)
    with FaultS3(faults) as server:
        place = Bucket(server, "run")
        job = echo_job(source, place.uri, place.storage, refined)
        job = job.model_copy(update={"execution": job.execution.model_copy(update={"chunks_in_flight": 4})})
        result = run_job(job, inline=True)
        given = dict(server.given)
        seen = raygen.open_run(place.uri, place.storage).to_arrow().to_pylist(maps_as_pydicts="lossy")
        found = judge_finished(place.objects(), expected)
    found.add(
        judge_rows(
            [(r["row_id"], r["status"], tuple(s["text"] for s in r["samples"])) for r in seen], rows, expected
        )
    )
    say(
        f"R5 storage faults: {CHUNKS} chunks, given {given}; rows lost {found.rows_lost}, "
        f"doubled {found.rows_doubled}, wrong hash {found.wrong_hash}"
    )
    assert result.state == "finished"
    assert found.broken == []
    assert set(given) == {"error_503", "lost_answer", "conflict_409"}


@pytest.mark.parametrize(
    ("failpoint", "action"),
    [
        ("put:data", "kill_after"),
        ("put_if_absent:commit", "kill_before"),
        ("put_if_absent:commit", "kill_after"),
        ("put_if_absent:commit", "lost_answer"),
        ("put_if_absent:commit", "unknown"),
        ("put_if_absent:manifest", "lost_answer"),
    ],
)
def test_a_store_without_conditional_writes_has_one_committer(
    templates: Templates, tmp_path: Path, failpoint: str, action: str
) -> None:
    with FaultS3(ignore_if_none_match=True) as server:
        place = Bucket(server, "run")
        bench = templates.bench(place, tmp_path / "notes")
        nth = 1 if failpoint.endswith("manifest") else 3
        judged = judge(Case("run", Fault(failpoint, nth, action)), place, bench, templates.expected, 7)
    assert judged.findings.broken == []
    assert judged.faults == 1


@pytest.fixture(params=["directory", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "directory":
        yield Directory(tmp_path / "run")
        return
    with FaultS3() as server:
        yield Bucket(server, "run")


def read_by_readers(objects: dict[str, bytes]) -> list[str]:
    """Keys of what readers of a finished run go by: its plan, its manifest and the data; so for its retries."""
    retried = {key.split("data/")[1][:8] for key in objects if key.startswith("retries/") and "/data/" in key}
    mended = {f"data/{chunk}" for chunk in retried}
    return [
        key
        for key in sorted(objects)
        if key.endswith(("plan.json", "manifest.json"))
        or ("data/" in key and "f" * 16 not in key and key[: len("data/00000000")] not in mended)
    ]


def test_every_flipped_bit_is_reported_to_readers(
    templates: Templates, place: Place, say: Callable[[str], None]
) -> None:
    """Of a run with a retry. What readers do not read (data that a retry has mended) cannot mislead them."""
    place.fill(dict(templates.objects["collect"]))
    keys = read_by_readers(place.objects())
    assert len(keys) == 4 + 7
    times = 3 if templates.expected.refined else 8
    unnoticed = unnoticed_flips(place, keys, times)
    say(
        f"R5 bit flips in {type(place).__name__}: {len(keys) * times} flips of {len(keys)} objects, {len(unnoticed)} unnoticed"
    )
    assert unnoticed == []


def test_every_flipped_bit_of_a_commit_is_reported(
    templates: Templates, place: Place, tmp_path: Path
) -> None:
    """Commits are read by who resumes, verifies or shows an unfinished run, and by the collector of any."""
    place.fill(dict(templates.objects["resume"]))
    bench = templates.bench(place, tmp_path / "notes")
    for key in [key for key in place.objects() if key.startswith("commits/")]:
        whole = place.objects()[key]
        for seed in range(4):
            place.fill({key: flipped(whole, seed)})
            assert bench.session("run") == "CorruptDataError"
            with pytest.raises(CorruptDataError):
                collect(open_store(place.uri, place.storage), 0)
        place.fill({key: whole})


def test_verify_names_every_object_that_is_not_what_it_was(templates: Templates, tmp_path: Path) -> None:
    place = Directory(tmp_path / "run")
    place.fill(dict(templates.objects["retry"]))
    for key in [key for key in place.objects() if key.startswith("data/")]:
        whole = place.objects()[key]
        place.fill({key: flipped(whole, 1)})
        found = verify_run(place.uri)
        assert not found.ok
        assert any(key in problem for problem in found.problems)
        place.fill({key: whole})
    assert verify_run(place.uri).ok
