"""Quiet: Ray's consoles, kept for what a user can do something about. One setting for runs and trainings of a process."""

from __future__ import annotations

import io
import logging
import os
import warnings

from raygen.cluster.connect import LOGS

# "Not enough resources to run any task ... unless the cluster scales up": a user can add nodes.
RESOURCE_WARNINGS = ".resource_manager"


def quieten() -> None:
    """Let Ray Data show its resource warnings only, and Ray Train its errors only; Ray's log files keep everything.

    What else goes wrong arrives as an exception. With RAYGEN_RAY_LOGS set, nothing is kept back. May be called any number
    of times, by a run and by a training in the same process.
    """
    if LOGS in os.environ:
        return
    for handler in logging.getLogger("ray.data").handlers:
        # A handler that collects lines in memory, as test runners do, is no console.
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler.stream, io.StringIO):
            handler.addFilter(_is_about_resources)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"ray\.(train|air|tune)")
    # Advice on the numbers of tasks and actors, which raygen chooses.
    warnings.filterwarnings(
        "ignore", category=UserWarning, module=r"ray\.data\._internal\.execution\.operators"
    )


def _is_about_resources(record: logging.LogRecord) -> bool:
    return record.name.endswith(RESOURCE_WARNINGS)
