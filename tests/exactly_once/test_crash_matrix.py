"""R1: whatever goes wrong at whatever moment, every row comes out once, with the right text.

240 runs by default: each side effect with each action; RAYGEN_CRASH_RUNS=1000 for the nightly number.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.exactly_once.failpoints import WRITES
from tests.exactly_once.matrix import cases
from tests.exactly_once.oracle import Findings
from tests.exactly_once.workers import Templates, make_templates, play

RUNS = int(os.environ.get("RAYGEN_CRASH_RUNS", "240"))
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


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    return make_templates(tmp_path_factory.mktemp("templates"))


def test_every_side_effect_has_a_failpoint(templates: Templates) -> None:
    passed = {each for counts in templates.seen.values() for each in counts}
    assert {each for each in passed if each.split(":")[0] in WRITES} == SIDE_EFFECTS


@pytest.mark.timeout(60 + RUNS)
def test_no_crash_loses_or_doubles_a_row(
    templates: Templates, tmp_path: Path, say: Callable[[str], None]
) -> None:
    chosen = []
    for seed in range(RUNS):
        chosen += cases(templates.seen, seed, S3_SHARE)
        if len(chosen) >= RUNS:
            break
    began_s = time.monotonic()
    found = play(chosen[:RUNS], templates, tmp_path)
    took_s = time.monotonic() - began_s
    sums = Findings()
    for each in found:
        sums.add(Findings(**each["findings"]))
    faults, recomputed = (sum(each[name] for each in found) for name in ("faults", "recomputed"))
    say(
        f"R1 crash matrix: {len(found)} runs ({sum(' on S3' in each['case'] for each in found)} on S3), "
        f"{faults} faults, rows lost {sums.rows_lost}, doubled {sums.rows_doubled}, wrong hash {sums.wrong_hash}, "
        f"dangling {sums.dangling}, uncommitted visible {sums.uncommitted_visible}, changed {sums.changed}, "
        f"other {len(sums.other)}, chunks recomputed {recomputed}, {took_s:.0f} s"
    )
    broken = [each for each in found if Findings(**each["findings"]).broken]
    assert not broken, broken[:5]
    assert faults >= 0.95 * len(found), "too many faults were never reached"
    covered = {each["case"].split("#")[0].split()[-1] for each in found}
    assert covered >= SIDE_EFFECTS
