"""Whatever goes wrong while a run's duplicates are found and written down: they are the same ones in the end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

import raygen
from raygen.program.job import Job
from raygen.review.verify import verify_run
from raygen.runs.manifest import Manifest
from raygen.storage import Store
from tests.exactly_once.failpoints import ACTIONS, Fault, Script
from tests.exactly_once.matrix import Case, _faulty_session, _finish
from tests.exactly_once.oracle import Expected, Findings
from tests.exactly_once.places import Bucket, Directory, Place
from tests.exactly_once.sessions import Bench, write_source
from tests.fakes.fault_s3 import FaultS3

FAILPOINTS = ("put_if_absent:duplicates", "get:duplicates", "put_if_absent:manifest")
READS = ("kill_before", "raise", "duplicate")


@dataclass
class Deduplicating(Bench):
    """A run whose rows are alike when their texts end with the same digit."""

    def job(self, reuse: str | None = None) -> Job:
        job = super().job(reuse)
        step = {"deduplicate": {"of": "{{ text[-1:] }}", "exact": True}}
        plain = job.model_dump(mode="json", exclude_none=True)
        return Job.model_validate({**plain, "steps": [*plain["steps"], step]})


def expected_of(expected: Expected, retried: bool) -> dict[str, str]:
    """Row id -> `failed`, `accepted`, or the row that it is a duplicate of."""
    found: dict[str, str] = {}
    first: dict[str, str] = {}
    for row in (row for chunk in expected.chunks for row in chunk):
        if row.fails and not retried:
            found[row.id] = "failed"
        else:
            found[row.id] = first.get(row.prompt[-1], "accepted")
            first.setdefault(row.prompt[-1], row.id)
    return found


def seen(bench: Bench) -> dict[str, str]:
    found = {}
    for row in raygen.open_run(bench.uri, bench.storage).to_arrow().to_pylist(maps_as_pydicts="lossy"):
        duplicate = row["reason"] == "duplicate"
        found[row["row_id"]] = (
            row["attempts"][-1]["detail"].rpartition(" ")[2] if duplicate else row["status"]
        )
    return found


def object_of(store: Store) -> bytes:
    told = Manifest.load(store).duplicates
    assert told is not None
    return store.get(told.data)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Expected, bytes, bytes]:
    """The rows, and the objects of a run and of its retry that nothing disturbed."""
    folder = tmp_path_factory.mktemp("duplicates")
    expected = write_source(folder / "source")
    bench = Deduplicating(str(folder / "run"), folder / "source", folder / "notes")
    assert (bench.session("run"), bench.session("retry")) == ("done", "done")
    objects = [object_of(bench.store()), object_of(bench.store().child("retries/0001"))]
    return folder / "source", expected, *objects


@pytest.mark.parametrize(("what", "s3"), [("run", False), ("retry", False), ("run", True)])
@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_the_same_rows_are_duplicates_whatever_happens(
    source: tuple[Path, Expected, bytes, bytes], tmp_path: Path, what: str, failpoint: str, s3: bool
) -> None:
    rows, expected, *objects = source
    operation, _, kind = failpoint.partition(":")
    if what == "retry":
        failpoint = f"{operation}:retry-{kind}"
    actions = ACTIONS if operation == "put_if_absent" else READS
    with FaultS3() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", server.endpoint_url)
        for number, action in enumerate(actions):
            if s3 and action == "kill_during":
                continue
            place: Place = Bucket(server, f"run{number}") if s3 else Directory(tmp_path / f"run{number}")
            bench = Deduplicating(place.uri, rows, tmp_path / f"notes{number}", place.storage)
            if what == "retry":
                assert bench.session("run") == "done"
            findings = Findings()
            case = Case(what, Fault(failpoint, 1, action), s3=s3)
            assert _faulty_session(case, case.fault, bench, findings) == 1, f"{case} was never reached"
            _finish(what, bench, findings)
            assert not findings.broken, (str(case), findings)
            assert seen(bench) == expected_of(expected, what == "retry"), str(case)
            store = bench.store()
            assert object_of(store) == objects[0], str(case)
            if what == "retry":
                assert object_of(store.child("retries/0001")) == objects[1], str(case)
            if not s3:
                assert verify_run(bench.uri).problems == [], str(case)


def test_every_write_of_the_finish_is_a_failpoint(
    source: tuple[Path, Expected, bytes, bytes], tmp_path: Path
) -> None:
    bench = Deduplicating(str(tmp_path / "run"), source[0], tmp_path / "notes")
    script = Script()
    assert bench.session("run", script) == "done"
    assert {each for each in script.seen if "duplicates" in each} == {
        "put_if_absent:duplicates",
        "get:duplicates",
    }
    assert os.listdir(tmp_path / "run").count("manifest.json") == 1
