"""B1: whatever goes wrong at whatever moment, each row of a batch is in one of its files, once, and nothing goes back.

20 runs by default; RAYGEN_CRASH_RUNS=1000 for the nightly number.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.exactly_once.failpoints import WRITES
from tests.serve.batches.crash import matrix

RUNS = int(os.environ.get("RAYGEN_CRASH_RUNS", "20"))
S3_SHARE = 0.12
# Everything that files and batches change in the store, beside what runs change. A new one must be named here.
SIDE_EFFECTS = {
    "put:content", "put:worker", "delete:marker",
    *(f"put_if_absent:{what}" for what in (
        "known", "idem", "recent", "files", "marker", "request", "claims", "verdict", "cancel", "finalizing", "retries", "end",
    )),
}  # fmt: skip


@pytest.fixture(scope="module")
def passed(tmp_path_factory):
    return matrix.seen(tmp_path_factory.mktemp("stories"))


def test_every_side_effect_has_a_failpoint(passed):
    found = {each for counts in passed.values() for each in counts if each.split(":")[0] in WRITES}
    assert {each for each in found if ":run-" not in each} == SIDE_EFFECTS


@pytest.mark.timeout(60 + 3 * RUNS)
def test_no_crash_loses_or_doubles_a_row_or_a_batch(passed, tmp_path: Path):
    chosen: list[matrix.Case] = []
    for seed in range(RUNS):
        chosen += matrix.cases(passed, seed, S3_SHARE)
        if len(chosen) >= RUNS:
            break
    began_s = time.monotonic()
    found = matrix.played(chosen[:RUNS], tmp_path)
    if (told := os.environ.get("RAYGEN_CRASH_FIGURES")) is not None:
        Path(told).write_text(
            json.dumps({"runs": len(found), "took_s": time.monotonic() - began_s, "found": found}, indent=1)
        )
    broken = [each for each in found if each["broken"]]
    assert not broken, broken[:3]
    given = sum(each["given"] for each in found)
    assert given >= 0.9 * len(found), f"{given} faults in {len(found)} runs: too many were never reached"
