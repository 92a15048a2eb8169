"""R6: what holds for texts holds for media: a chunk is one table and several archives, and counts as a whole or not at all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import raygen
from raygen.errors import CorruptDataError
from raygen.review.verify import verify_run
from tests.exactly_once import mutants
from tests.exactly_once.failpoints import WRITES
from tests.exactly_once.matrix import Case, cases, spread
from tests.exactly_once.mutants import Mutant, flipped
from tests.exactly_once.oracle import Findings
from tests.exactly_once.places import Bucket, Directory, Place
from tests.exactly_once.test_crash_matrix import SIDE_EFFECTS
from tests.exactly_once.test_mutants import matrix
from tests.exactly_once.workers import Templates, play
from tests.fakes.fault_s3 import FaultS3

RUNS = int(os.environ.get("RAYGEN_CRASH_RUNS", "240")) // 6
S3_SHARE = 0.25
MEDIA_EFFECTS = {f"{operation}:{retry}media" for operation in ("put", "delete") for retry in ("", "retry-")}


def test_every_archive_has_a_failpoint(pictures: Templates) -> None:
    passed = {each for counts in pictures.seen.values() for each in counts}
    assert {each for each in passed if each.split(":")[0] in WRITES} == SIDE_EFFECTS | MEDIA_EFFECTS
    archives = [key for key in pictures.objects["retry"] if key.endswith(".tar")]
    assert len(archives) > 2 * 7, "a chunk has several"


@pytest.mark.timeout(60 + 3 * RUNS)
def test_no_crash_loses_or_doubles_a_medium(
    pictures: Templates, tmp_path: Path, say: Callable[[str], None]
) -> None:
    chosen: list[Case] = []
    for seed in range(RUNS):
        chosen += cases(pictures.seen, seed, S3_SHARE)
        if len(chosen) >= RUNS:
            break
    ordered = spread(chosen)
    ordered.sort(key=lambda case: case.fault.failpoint not in MEDIA_EFFECTS)  # theirs first, then one of each
    of_media = [case for case in ordered if case.fault.failpoint in MEDIA_EFFECTS]
    half = of_media[: RUNS // 2]
    began_s = time.monotonic()
    found = play(
        [*half, *[case for case in ordered if case not in half][: RUNS - len(half)]], pictures, tmp_path
    )
    sums = Findings()
    for each in found:
        sums.add(Findings(**each["findings"]))
    faults = sum(each["faults"] for each in found)
    say(
        f"R6 crash matrix, media: {len(found)} runs ({sum(' on S3' in each['case'] for each in found)} on S3), "
        f"{faults} faults, rows lost {sums.rows_lost}, doubled {sums.rows_doubled}, wrong media {sums.wrong_hash}, "
        f"dangling {sums.dangling}, other {len(sums.other)}, {time.monotonic() - began_s:.0f} s"
    )
    broken = [each for each in found if Findings(**each["findings"]).broken]
    assert not broken, broken[:5]
    assert faults >= 0.9 * len(found)


def media_change(templates: Templates, folder: Path) -> list[str]:
    """One bit of a medium in every archive is another; the run's media are read."""
    place = Directory(folder / "run")
    place.fill(dict(templates.objects["retry"]))
    unnoticed = []
    for key in [key for key in place.objects() if key.endswith(".tar")]:
        whole = place.objects()[key]
        changed = bytearray(whole)
        changed[600] ^= 1  # the first medium begins at 512
        place.fill({key: bytes(changed)})
        run = raygen.open_run(place.uri)
        try:
            for row in run.rows():
                for sample in row["samples"]:
                    run.media(sample)
            unnoticed.append(f"unnoticed: {key}")
        except CorruptDataError:
            pass
        place.fill({key: whole})
    return unnoticed


HUNTS: list[tuple[Mutant, Callable[[Templates, Path], list[str]], str]] = [
    (mutants.commit_before_archives, matrix("run", "put_if_absent:commit", 3, "kill_after"), "dangling"),
    (mutants.archives_by_listing, matrix("run", "put:media", 2, "kill_after"), "wrong_hash"),
    (mutants.collection_blind_to_archives, matrix("collect", "delete:media", 1, "kill_after"), "dangling"),
    (mutants.unchecked_media, media_change, "unnoticed"),
]


@pytest.mark.parametrize(
    ("mutant", "scenario", "broken"), HUNTS, ids=[mutant.__name__ for mutant, _, _ in HUNTS]
)
def test_a_mutant_that_is_careless_with_media_is_caught(
    mutant: Mutant,
    scenario: Callable[[Templates, Path], list[str]],
    broken: str,
    pictures: Templates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert scenario(pictures, tmp_path / "as-it-is") == []
    mutant(monkeypatch)
    found = scenario(pictures, tmp_path / "mutant")
    assert any(broken in each for each in found), found


@pytest.mark.parametrize("where", ["directory", "bucket"])
def test_every_flipped_bit_of_an_archive_is_reported(
    pictures: Templates, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its headers and its padding, too."""
    with FaultS3() as server:
        place: Place = Directory(tmp_path / "run") if where == "directory" else Bucket(server, "run")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint_url)
        place.fill(dict(pictures.objects["retry"]))
        assert verify_run(place.uri).ok
        for seed, key in enumerate([key for key in place.objects() if key.endswith(".tar")][::3]):
            whole = place.objects()[key]
            for changed in (flipped(whole, seed), whole[:-1] + b"x", bytes([whole[0] ^ 1]) + whole[1:]):
                place.fill({key: changed})
                assert any(key in problem for problem in verify_run(place.uri).problems)
            place.fill({key: whole})
