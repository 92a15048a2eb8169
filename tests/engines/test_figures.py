"""Engine figures: shares, and how sessions add up; the board's gauges and the lines that people read."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from raygen.engines.figures import (
    GAUGES,
    kv_use,
    merged_figures,
    pool_figures,
    prefix_hit_rate,
    usage_figures,
    usage_of,
)
from raygen.engines.silence import at, silences
from raygen.pipeline import board as board_module
from raygen.pipeline.board import Board
from raygen.pipeline.monitor import Progress
from raygen.pipeline.progress import engine_parts, summary
from raygen.usage import Usage

TORCH = {
    "in_flight": 4,
    "waiting": 1200,
    "limit": 8,
    "kv_positions": 300,
    "kv_peak": 500,
    "kv_limit": 1000,
    "prompt_tokens_computed": 100,
    "prompt_tokens_reused": 300,
    "preemptions": 2,
}
PROGRESS = Progress(
    "n", 10, {"accepted": 1, "rejected": 0, "failed": 0}, (1, 2),
    Usage(output_tokens=5), 1.0, 2.0, 345.0, 0.5, 1, 3.0, 4.0, False, TORCH
)  # fmt: skip


def test_shares():
    assert prefix_hit_rate(TORCH) == 0.75
    assert (kv_use(TORCH), kv_use(TORCH, "kv_peak")) == (0.3, 0.5)
    assert prefix_hit_rate({"requests": 3}) is None
    assert prefix_hit_rate({"prompt_tokens_computed": 0, "prompt_tokens_reused": 0}) is None
    assert kv_use({"requests": 3}) is None


def test_sessions_add_up_but_for_gauges_and_peaks():
    merged = merged_figures([TORCH, {**TORCH, "kv_peak": 400, "waiting": 0}])
    assert merged["prompt_tokens_reused"] == 600
    assert (merged["kv_peak"], merged["kv_limit"], merged["waiting"]) == (500, 1000, 1200)


def test_gauges_of_a_silent_engine_do_not_count_its_totals_do(monkeypatch: pytest.MonkeyPatch):
    now_s = 100.0
    monkeypatch.setattr(board_module.time, "monotonic", lambda: now_s)
    board = Board()
    board.push("gone", dict(TORCH))
    now_s = 200.0
    board.push("alive", dict(TORCH))
    found: dict[str, Any] = board.gauges()
    assert found["replicas"] == 1
    for key, value in TORCH.items():
        assert found[key] == (value if key in GAUGES else 2 * value)


POOLS = {
    "pool.nli.replicas": 2,
    "pool.nli.in_flight": 3,
    "pool.nli.limit": 8,
    "pool.big.one.replicas": 1,
    "pool.big.one.in_flight": 0,
}


def test_pools_are_of_this_moment_and_in_the_line(monkeypatch: pytest.MonkeyPatch):
    assert pool_figures(POOLS) == {"nli": (2, 0.375), "big.one": (1, None)}
    assert merged_figures([POOLS, {**POOLS, "pool.nli.replicas": 5}])["pool.nli.replicas"] == 5
    line = summary(dataclasses.replace(PROGRESS, engine=POOLS, prefill_per_s=None))
    assert "nli ×2 38% full · big.one ×1 · ETA" in line
    now_s = 100.0
    monkeypatch.setattr(board_module.time, "monotonic", lambda: now_s)
    board = Board()
    board.push("gone", {"pool.nli.asked": 7})
    now_s = 200.0
    board.push("alive", {"pool.nli.asked": 5})
    assert board.gauges()["pool.nli.asked"] == 5


def test_what_engines_say_of_a_silent_endpoint_is_not_added_up():
    board = Board()
    for name, since_s in (("a", 1000.0), ("b", 1002.0)):
        said = {"silent": 1, "since_s": since_s, "until_s": since_s + 3600, "why": 429, "asked_s": 7200}
        board.push(name, {f"endpoint.writer.{key}": value for key, value in said.items()})
    figures = board.gauges()
    assert figures["endpoint.writer.silent"] == 2
    (line,) = silences(figures)
    assert line == (
        f"writer's endpoint refuses every request since {at(1002.0)} (HTTP 429, it asks for 2 h of silence); "
        f"gives up at {at(4602.0)}"
    )


def test_usage_of_any_unit_travels_as_figures():
    board = Board()
    board.push("a", usage_figures(Usage(images=2, credits=0.5)))
    board.push("b", usage_figures(Usage(images=1, output_tokens=7)))
    assert usage_of(board.gauges()) == {"images": 3, "credits": 0.5, "output_tokens": 7}


def test_an_engine_that_comes_later_learns_who_has_answered():
    board = Board()
    assert board.push("a", {"answered.writer": 0, "answered.judge": 3}) == (False, ["judge"])
    assert board.push("b", {"answered.writer": 0}) == (False, ["judge"])
    assert board.push("a", {"answered.judge": 0}) == (False, ["judge"])  # started anew


def test_the_line_says_what_the_engines_say():
    line = summary(PROGRESS)
    assert "prefill 345 tokens/s · prefixes reused 75% · queue 1,200 · KV 30% · preemptions 2 · ETA" in line
    assert "1.0 rows/s · 2 tokens/s · engines 50% full" in line
    drawn = dataclasses.replace(PROGRESS, usage=Usage(output_tokens=5, images=1))
    assert "1.0 rows/s · 2 images/s · engines 50% full" in summary(drawn)
    silent = dataclasses.replace(PROGRESS, engine={"requests": 1}, prefill_per_s=None)
    assert engine_parts(silent) == []
