"""Quiet: what of Ray's own words reaches the terminal, whoever asked for quiet before."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
import ray.data

from raygen.cluster.connect import LOGS
from raygen.cluster.quiet import quieten
from raygen.train.prepare import spread


@pytest.fixture
def console() -> Iterator[list[str]]:
    """Ray Data's console, whose lines are kept; its logger and handlers are as before afterwards."""
    lines: list[str] = []
    logger = logging.getLogger("ray.data")

    class Console(logging.StreamHandler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handlers, levels = logger.handlers[:], (logger.level, logging.getLogger("ray.train").level)
    logger.handlers = [Console()]
    yield lines
    logger.handlers = handlers
    logger.setLevel(levels[0])
    logging.getLogger("ray.train").setLevel(levels[1])


def resources_are_short() -> None:
    logging.getLogger("ray.data._internal.execution.resource_manager").warning("not enough resources")


def test_only_warnings_of_resources_are_shown(console: list[str]) -> None:
    quieten()
    logging.getLogger("ray.data._internal.execution.streaming_executor").info("Starting execution")
    resources_are_short()
    assert console == ["not enough resources"]


def test_a_run_after_a_training_still_shows_them(console: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.data, "from_items", lambda items, **options: items)
    spread.dataset([b"a part of a training's source"])
    quieten()  # the run's
    resources_are_short()
    assert console == ["not enough resources"]


def test_what_collects_lines_in_memory_keeps_them_all(console: list[str]) -> None:
    kept = io.StringIO()
    logging.getLogger("ray.data").addHandler(logging.StreamHandler(kept))
    quieten()
    logging.getLogger("ray.data._internal.execution.streaming_executor").warning("Starting execution")
    assert (console, kept.getvalue()) == ([], "Starting execution\n")


def test_all_is_shown_to_those_who_ask_for_rays_logs(
    console: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOGS, "1")
    quieten()
    logging.getLogger("ray.data._internal.execution.streaming_executor").info("Starting execution")
    assert console == ["Starting execution"]
