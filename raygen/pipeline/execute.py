"""The Ray execution: a run's chunks through Ray Data.

    groups of chunk references -> read (tasks) -> generate (autoscaling actor pool) -> commit (tasks) -> reports

Killed actors and lost nodes are Ray's to replace; the chunk is then simply done again, and the commit decides which
attempt counts.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import ray
import ray.data

from raygen.engines import engine_class
from raygen.errors import ConfigError
from raygen.pipeline import stages
from raygen.pipeline.board import start_board
from raygen.pipeline.cluster import LOGS, capacity, fitting
from raygen.pipeline.host import chunks_in_flight
from raygen.pipeline.machine import usable_cores
from raygen.pipeline.ray_data import our_settings
from raygen.pipeline.work import Report, Todo, Work

# How often a chunk, and an engine, may meet the sudden end of its process before the pass is given up. The driver then
# begins another pass while passes commit anything: a row that kills its process ends a run, and preempted nodes do not.
MAX_RETRIES = 10
MAX_MESSAGE = 600  # characters of what Ray says about why it gave up


class RayExecution:
    """Lays a run's work over Ray Data. Needs a connected Ray (`cluster.connected`)."""

    def __init__(self, work: Work, todos: list[list[Todo]]) -> None:
        self._work = work
        self._todos = todos
        self._capacity = capacity()
        self._stopping = False
        self._replicas = self._fitting()
        self._board: Any = start_board()
        _quieten()

    def start(self) -> None:
        """Engines start with `reports`."""

    def reports(self) -> Iterator[Report]:
        """Yield a report for each chunk, as they are committed.

        A report with chunk -1 says that Ray gave up; what is left is for another pass.

        Raises:
            RaygenError: as a stage raised it. RayTaskError: a bug of ours.
        """
        batches = self._dataset().iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        try:
            for batch in batches:
                yield from stages.reports(batch)
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError as error:
            yield Report(-1, problem=f"{' '.join(str(error).split())[:MAX_MESSAGE]}")

    def _dataset(self) -> ray.data.Dataset:
        work = self._work
        wide = chunks_in_flight(work.job, work.models)
        groups = [stages.pack_group(group) for group in self._todos]
        # A worker process costs more to start than many chunks to read: on one machine, no more of them than help. Reading
        # streams; writing waits for the store.
        half = int(self._capacity.cpus / 2)
        widths = (max(1, half), max(2, half)) if self._capacity.fixed else (None, None)
        with our_settings():
            return self._stages(groups, wide, *widths)

    def _stages(
        self, groups: list[bytes], wide: int, readers: int | None, writers: int | None
    ) -> ray.data.Dataset:
        work, execution = self._work, self._work.job.execution
        items = [{"group": group} for group in groups]
        return (
            ray.data.from_items(items, override_num_blocks=len(items))
            .map_batches(
                partial(stages.read, work=work, board=self._board),
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.TaskPoolStrategy(readers),
                num_cpus=execution.cpus_per_read,
                ray_remote_args_fn=_task_retries,
            )
            .map_batches(
                stages.Generate,
                fn_constructor_kwargs={"work": work, "board": self._board},
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(
                    min_size=self._replicas[0],
                    max_size=self._replicas[1],
                    max_tasks_in_flight_per_actor=2 * wide,
                    max_concurrent_calls_per_actor=wide,
                    enable_true_multi_threading=True,
                ),
                num_cpus=self._cpus_per_replica(),
                num_gpus=execution.gpus_per_replica or None,
                ray_remote_args_fn=_engine_retries,
            )
            .map_batches(
                partial(stages.commit, work=work),
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.TaskPoolStrategy(writers),
                num_cpus=execution.cpus_per_write,
                ray_remote_args_fn=_task_retries,
            )
        )

    def stop(self) -> None:
        self._stopping = True
        ray.get(self._board.stop.remote())

    def gauges(self) -> dict[str, Any]:
        found: dict[str, Any] = ray.get(self._board.gauges.remote(self._stopping))
        return found

    def close(self) -> None:
        self._board = (
            None  # it ends with its last handle; killed, it would be missed by engines that are still ending
        )

    def _cpus_per_replica(self) -> float:
        if self._work.job.execution.cpus_per_replica is not None:
            return self._work.job.execution.cpus_per_replica
        gpus = self._work.job.execution.gpus_per_replica
        return sum(engine_class(m.spec.engine).cpus(usable_cores(), gpus) for m in self._work.models.values())

    def _fitting(self) -> tuple[int, int]:
        """Return how many engines to have: never more than chunks, nor than a Ray that cannot grow has room for.

        Raises:
            ConfigError: the fewest wanted do not fit; Ray would wait for ever.
        """
        execution, room = self._work.job.execution, self._capacity
        chunks = sum(map(len, self._todos))
        low, high = (min(each, chunks) for each in execution.replicas)
        if not room.fixed:
            return low, high
        cpus = self._cpus_per_replica()
        free = room.cpus - execution.cpus_per_read - execution.cpus_per_write  # else those would starve
        fit = fitting(high, (cpus, free), (execution.gpus_per_replica, room.gpus))
        if fit < low:
            raise ConfigError(
                f"execution.replicas: at least {low} engine{'s' * (low > 1)} of {cpus:g} CPUs and "
                f"{execution.gpus_per_replica:g} GPUs wanted, but of this Ray's {room.cpus:g} logical CPUs {max(0, free):g} are "
                f"free beside reading and writing, and it has {room.gpus:g} GPUs: room for {max(0, fit)}. "
                "Lower replicas, cpus_per_replica or gpus_per_replica"
            )
        return low, max(low, fit)


def _task_retries() -> dict[str, Any]:
    return {"max_retries": MAX_RETRIES}


def _engine_retries() -> dict[str, Any]:
    return {"max_restarts": MAX_RETRIES, "max_task_retries": MAX_RETRIES}


def _quieten() -> None:
    """Keep Ray Data's console for what a user can do something about; its log file has all."""
    if LOGS in os.environ:
        return
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.addFilter(_about_resources)
    # Advice on widths, which are ours to choose.
    warnings.filterwarnings(
        "ignore", category=UserWarning, module=r"ray\.data\._internal\.execution\.operators"
    )


def _about_resources(record: logging.LogRecord) -> bool:
    return record.name.endswith(
        ".resource_manager"
    )  # "not enough to run any task ... unless the cluster scales up"
