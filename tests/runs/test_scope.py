"""A run generates all its rows; a retry those that failed, and all of them."""

from __future__ import annotations

from tests.runs.made import a_plan

ACCEPT = {"accept": {"target": 4, "max_attempts_per_row": 1}}


def test_a_run_has_every_row() -> None:
    plan = a_plan(3, identity=ACCEPT)
    scope = plan.scope
    assert (scope.chunks, scope.rows, scope.positions(1), scope.mends) == ([0, 1, 2], 9, None, False)
    assert (plan.todo, plan.target) == ([0, 1, 2], 4)


def test_a_retry_has_the_rows_that_failed_and_wants_them_all() -> None:
    plan = a_plan(3, identity=ACCEPT, only={2: [0, 2], 0: [1]})
    scope = plan.scope
    assert (scope.chunks, scope.rows, scope.positions(2), scope.mends) == ([0, 2], 3, (0, 2), True)
    assert (plan.todo, plan.target, plan.rows) == ([0, 2], None, 9)


def test_each_says_how_to_go_on() -> None:
    assert "--reuse runs/a" in a_plan().scope.remedy("runs/a", all_anew=False)
    assert a_plan().scope.remedy("runs/a", all_anew=True).startswith("Choose another --output")
    assert "retry anew" in a_plan(only={0: [1]}).scope.remedy("runs/a/retries/0001", all_anew=False)
