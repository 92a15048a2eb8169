from __future__ import annotations

import pytest

from raygen.serve.cluster.standing import standing, summed
from raygen.serve.models.link import Figures


@pytest.mark.parametrize(
    ("status", "replicas", "state"),
    [
        ("HEALTHY", {"RUNNING": 2}, "ready"),
        ("UPDATING", {"RUNNING": 1, "STARTING": 1}, "ready"),
        ("HEALTHY", {}, "cold"),
        ("HEALTHY", {"STOPPING": 1}, "cold"),
        ("UPSCALING", {"STARTING": 1}, "loading"),
        ("UPDATING", {}, "loading"),
        ("DEPLOY_FAILED", {"STARTING": 1}, "broken"),
        ("UNHEALTHY", {"RUNNING": 1}, "ready"),
    ],
)
def test_serve_s_words_come_to_one_of_four(status: str, replicas: dict[str, int], state: str) -> None:
    assert standing(status, replicas).state == state


def test_those_that_start_are_wanted_and_not_there() -> None:
    found = standing("UPSCALING", {"RUNNING": 1, "STARTING": 2, "STOPPING": 1})
    assert (found.replicas, found.wanted) == (1, 3)


def test_figures_of_replicas_are_added_up() -> None:
    one = Figures("ready", 1, 1, running=3, waiting=1, batch_rows=16, totals={"requests": 5})
    two = Figures("ready", 1, 1, running=2, totals={"requests": 7, "refused": 1})
    found = summed([one, two], standing("UPSCALING", {"RUNNING": 2, "STARTING": 1}))
    assert (found.replicas, found.wanted, found.running, found.waiting, found.batch_rows) == (2, 3, 5, 1, 16)
    assert found.totals == {"requests": 12, "refused": 1}
