"""B3: the harness catches each of seven mutants of the protocol, and has nothing against the protocol itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.exactly_once.failpoints import Fault
from tests.exactly_once.places import Directory
from tests.serve.batches.crash import mutants
from tests.serve.batches.crash.matrix import Case, play

HUNTS = [
    (
        mutants.marker_after_request,
        Case("completed", 1, Fault("put_if_absent:request", 1, "kill_after")),
        "lost",
    ),
    (mutants.end_is_overwritten, Case("cancelled", 4, Fault("put:end", 1, "stop_before")), "changed"),
    (
        mutants.all_commits_count,
        Case("completed", 2, Fault("put_if_absent:run-commit", 3, "duplicate"), "cut"),
        "size",
    ),
    (mutants.lease_is_truth, Case("completed", 2, Fault("put:run-commit", 2, "stop_before")), "changed"),
    (
        mutants.key_after_request,
        Case("completed", 1, Fault("put_if_absent:request", 1, "kill_after")),
        "doubled",
    ),
    (mutants.status_object, Case("completed", 2, Fault("put_if_absent:end", 1, "kill_after")), "stuck"),
    (
        mutants.listing_reader,
        Case("completed", 2, Fault("put_if_absent:run-commit", 2, "kill_before")),
        "rows",
    ),
]


@pytest.mark.parametrize("hunt", HUNTS, ids=lambda hunt: hunt[0].__name__)
def test_each_mutant_is_caught(hunt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mutant, case, word = hunt
    with monkeypatch.context() as patch:
        mutant(patch)
        judged = play(case, Directory(tmp_path / "store"), tmp_path / "notes")
    assert judged.given
    assert word in {each.partition(":")[0] for each in judged.broken}, judged.broken


@pytest.mark.parametrize("hunt", HUNTS, ids=lambda hunt: hunt[0].__name__)
def test_the_protocol_itself_passes_where_mutants_fall(hunt, tmp_path: Path):
    _, case, _ = hunt
    if case.fault.failpoint.startswith("put:"):  # of the mutant: the protocol creates it
        fault = Fault(
            case.fault.failpoint.replace("put:", "put_if_absent:"), case.fault.nth, case.fault.action
        )
        case = Case(case.story, case.at, fault, case.meanwhile)
    judged = play(case, Directory(tmp_path / "store"), tmp_path / "notes")
    assert judged.given
    assert not judged.broken
