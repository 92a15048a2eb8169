"""R1: whatever goes wrong at whatever moment, every row comes out once, with the right text.

240 runs by default: each side effect with each action; RAYGEN_CRASH_RUNS=1000 for the nightly number. A sixth as many
on top with a program that generates, verifies and refines.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exactly_once.failpoints import WRITES
from tests.exactly_once.matrix import Case, cases, spread
from tests.exactly_once.oracle import Findings
from tests.exactly_once.places import Directory
from tests.exactly_once.workers import Templates, play

RUNS = int(os.environ.get("RAYGEN_CRASH_RUNS", "240"))
PART = 6  # so manieth part of them again, with three steps, two models and a run that reuses another
S3_SHARE = 0.12
# Everything that a run, its resume, its retry and its collection change. A new one must be named here.
SIDE_EFFECTS = {
    f"{operation}:{retry}{kind}"
    for retry in ("", "retry-")
    for operation, kind in (
        ("put_if_absent", "probe"),
        ("delete", "probe"),
        ("put_if_absent", "plan"),
        ("put", "progress"),
        ("put", "data"),
        ("put_if_absent", "commit"),
        ("put_if_absent", "manifest"),
        ("delete", "data"),
    )
} | {"put:report"}


def test_every_side_effect_has_a_failpoint(templates: Templates) -> None:
    passed = {each for counts in templates.seen.values() for each in counts}
    assert {each for each in passed if each.split(":")[0] in WRITES} == SIDE_EFFECTS


def test_a_run_that_reuses_another_asks_no_model(made: Callable[[bool], Templates], tmp_path: Path) -> None:
    """So what crashes in the matrix is a reusing run, and not one that computes."""
    place = Directory(tmp_path / "run")
    assert made(True).bench(place, tmp_path / "notes").session("reuse") == "done"
    calls = json.loads(place.objects()["manifest.json"])["calls"]
    assert (calls["computed"], calls["reused"] > 60) == (0, True)


@pytest.mark.timeout(60 + RUNS)
def test_no_crash_loses_or_doubles_a_row(
    templates: Templates, tmp_path: Path, say: Callable[[str], None]
) -> None:
    refined = templates.expected.refined
    runs = RUNS // PART if refined else RUNS
    chosen: list[Case] = []
    for seed in range(runs):
        chosen += cases(templates.seen, seed, S3_SHARE)
        if len(chosen) >= runs:
            break
    began_s = time.monotonic()
    found = play((spread(chosen) if refined else chosen)[:runs], templates, tmp_path)
    took_s = time.monotonic() - began_s
    sums = Findings()
    for each in found:
        sums.add(Findings(**each["findings"]))
    faults, recomputed = (sum(each[name] for each in found) for name in ("faults", "recomputed"))
    say(
        f"R1 crash matrix{', refined' if refined else ''}: {len(found)} runs "
        f"({sum(' on S3' in each['case'] for each in found)} on S3), {faults} faults, rows lost {sums.rows_lost}, "
        f"doubled {sums.rows_doubled}, wrong hash {sums.wrong_hash}, dangling {sums.dangling}, "
        f"uncommitted visible {sums.uncommitted_visible}, changed {sums.changed}, "
        f"other {len(sums.other)}, chunks recomputed {recomputed}, {took_s:.0f} s"
    )
    broken = [each for each in found if Findings(**each["findings"]).broken]
    assert not broken, broken[:5]
    assert faults >= 0.95 * len(found), "too many faults were never reached"
    covered = {each["case"].split("#")[0].split()[-1] for each in found}
    assert covered >= SIDE_EFFECTS
