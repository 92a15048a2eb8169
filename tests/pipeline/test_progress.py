"""What people read of a run: one of a thing is not spoken of as of many."""

from __future__ import annotations

from raygen.pipeline.forecast import Forecast
from raygen.pipeline.progress import result_lines, status_lines
from raygen.pipeline.result import RunResult
from raygen.review.verify import Verification
from raygen.runs.status import Status
from raygen.usage import Usage

ONE = {"total": 1, "accepted": 1, "rejected": 0, "failed": 0}


def test_one_of_a_thing() -> None:
    usage, calls = Usage(prompt_tokens=1, output_tokens=1), {"reused": 1, "computed": 1}
    result = RunResult("run", "finished", ONE, usage, None, None, calls)
    assert result_lines(result, reusing=True)[0] == (
        "1 of 1 row has an outcome: 1 accepted, 0 rejected, 0 failed; 1 token generated; 1 call reused, 1 computed"
    )
    status = Status(
        "n", "run", "finished", {"total": 1, "committed": 1}, ONE, usage, calls, None, None, 3.0, 1, 1, None, None, None, None
    )  # fmt: skip
    assert "  time    3 s in 1 session, 1 retry" in status_lines(status)
    found = Forecast("n", 1, 1, 1, 1, 0, 0, None, None, None, None, None, None, None)
    assert found.lines() == ["n: 1 row in 1 chunk, from 1 input (1 byte)"]
    assert Verification(run="run", finished=True, rows=1, rows_planned=1, chunks=1).lines() == [
        "1 outcome of 1 row in 1 chunk: sound"
    ]
