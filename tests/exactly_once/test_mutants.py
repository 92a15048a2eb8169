"""R3: the harness catches each of twelve mutants of the protocol, and has nothing against the protocol itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.exactly_once import mutants
from tests.exactly_once.failpoints import Fault
from tests.exactly_once.flips import unnoticed_flips
from tests.exactly_once.matrix import Case, judge
from tests.exactly_once.mutants import Mutant
from tests.exactly_once.places import Directory
from tests.exactly_once.workers import Templates
from tests.exactly_once.world import LIMIT_S, World


@dataclass(frozen=True)
class Hunt:
    """Where a mutant shows itself.

    Args:
        scenario: returns what the harness finds broken.
        broken: one of the words that must be in it.
    """

    mutant: Mutant
    scenario: Callable[[Templates, Path], list[str]]
    broken: str


def matrix(
    what: str, failpoint: str, nth: int, action: str, late: bool = False
) -> Callable[[Templates, Path], list[str]]:
    """A case of the crash matrix (R1)."""

    def play(templates: Templates, folder: Path) -> list[str]:
        folder.mkdir()
        place = Directory(folder / "run")
        place.fill(dict(templates.objects[what]))
        bench = templates.bench(place, folder / "notes")
        case = Case(what, Fault(failpoint, nth, action), None, late)
        judged = judge(case, place, bench, templates.expected, templates.todo(what))
        assert judged.faults == 1
        return [*judged.findings.broken, *judged.findings.other]

    return play


def interleaving(moves: Callable[[World], None]) -> Callable[[Templates, Path], list[str]]:
    """A case of the interleavings (R2)."""

    def play(templates: Templates, folder: Path) -> list[str]:
        world = World()
        try:
            world.start("planner").finish()
            moves(world)
            world.check()
            world.settle()
            return world.problems
        finally:
            world.close()

    return play


def two_workers_commit_one_chunk(world: World) -> None:
    first, second = world.start("worker"), world.start("worker")
    for worker in (first, second, first, second, first, second):
        worker.step()
        world.check()


def a_collection_before_the_commit(world: World) -> None:
    worker = world.start("worker")
    worker.step()
    worker.step()
    assert worker.waiting == ("put_if_absent", "commits/00000000.json")
    world.start("collector").finish()
    worker.step()


def a_conflict_at_the_commit(world: World) -> None:
    worker = world.start("worker")
    worker.step()
    worker.step()
    worker.step("unknown")


def a_worker_dies_at_every_operation(world: World) -> None:
    for operations in range(5):
        worker = world.start("worker")
        for _ in range(operations):
            if not worker.ended:
                worker.step()
                world.check()
        if not worker.ended:
            worker.step("killed")
        world.check()


def a_worker_outlives_its_limit(world: World) -> None:
    worker = world.start("worker")
    worker.step()  # its attempt begins
    worker.step("unknown")
    world.advance(LIMIT_S + 1)
    worker.step()


def bits_flip(templates: Templates, folder: Path) -> list[str]:
    place = Directory(folder / "run")
    place.fill(dict(templates.objects["retry"]))
    return unnoticed_flips(place, [key for key in place.objects() if key.startswith("data/")], 3)


HUNTS = [
    Hunt(mutants.no_if_none_match, interleaving(two_workers_commit_one_chunk), "changed"),
    Hunt(mutants.delete_on_unknown, matrix("run", "put_if_absent:commit", 3, "lost_answer"), "dangling"),
    Hunt(mutants.refusal_is_success, matrix("run", "put_if_absent:commit", 3, "duplicate"), "changed"),
    Hunt(mutants.refusal_is_success, interleaving(two_workers_commit_one_chunk), "untrue"),
    Hunt(mutants.shared_attempt_name, matrix("run", "put:data", 3, "duplicate"), "dangling"),
    Hunt(mutants.commit_before_data, matrix("run", "put_if_absent:commit", 3, "kill_after"), "dangling"),
    Hunt(mutants.zero_grace_collection, interleaving(a_collection_before_the_commit), "dangling"),
    Hunt(mutants.listing_reader, matrix("run", "put_if_absent:commit", 3, "kill_before"), "rows_doubled"),
    Hunt(mutants.stream_to_final_name, interleaving(a_worker_dies_at_every_operation), "stuck"),
    Hunt(mutants.no_checksum, bits_flip, "unnoticed"),
    Hunt(mutants.ranges_from_blocks, matrix("run", "put_if_absent:commit", 3, "kill_before"), "rows_lost"),
    Hunt(mutants.conflict_is_existence, interleaving(a_conflict_at_the_commit), "untrue"),
    Hunt(mutants.no_self_fencing, matrix("run", "put:data", 3, "stop_after", late=True), "after its limit"),
    Hunt(mutants.no_self_fencing, interleaving(a_worker_outlives_its_limit), "late_write"),
]


def programs(hunt: Hunt) -> list[bool]:
    """Where rows come out of a program, both have a turn."""
    return [False] if hunt.scenario.__qualname__.startswith("interleaving") else [False, True]


@pytest.mark.parametrize(
    ("templates", "hunt"),
    [
        pytest.param(refined, hunt, id=f"{hunt.mutant.__name__}{'-refined' * refined}")
        for hunt in HUNTS
        for refined in programs(hunt)
    ],
    indirect=["templates"],
)
def test_a_mutant_is_caught(
    hunt: Hunt, templates: Templates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hunt.scenario(templates, tmp_path / "as-it-is") == []
    hunt.mutant(monkeypatch)
    found = hunt.scenario(templates, tmp_path / "mutant")
    assert any(hunt.broken in each for each in found), found


def test_there_are_twelve(say: Callable[[str], None]) -> None:
    caught = {hunt.mutant for hunt in HUNTS}
    assert len(caught) == 12
    say(f"R3 mutants: {len(caught)} of 12 caught")
