"""The Ray execution: a run's chunks through Ray Data.

    groups of chunk references -> read (tasks) -> generate (autoscaling actor pool) -> commit (tasks) -> reports
                                                      |  ^ requests
                                                      v  | results
                                                  pools of replicas (actors), for pooled models

Killed actors and lost nodes are Ray's to replace; the chunk is then simply done again, and the commit decides which
attempt counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import ray
import ray.data

from raygen.cluster.actors import start_beside_driver
from raygen.cluster.connect import capacity
from raygen.cluster.datasets import our_settings
from raygen.cluster.quiet import quieten
from raygen.engines.figures import add_figures
from raygen.limits import usable_cores
from raygen.pipeline import stages
from raygen.pipeline.board import Board
from raygen.pipeline.pools.layout import Group, groups_of, laid_out
from raygen.pipeline.pools.pool import Pools, stand_ins
from raygen.pipeline.work import Report, Todo, Work
from raygen.program.host import chunks_in_flight

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
        self._groups = self._laid_out()
        self._board: Any = start_beside_driver(Board)
        self._pools = Pools(work.job, work.models, self._groups, self._board, MAX_RETRIES)
        quieten()

    def start(self) -> None:
        """Engines start with `reports`: pools first, then the engine hosts."""

    def reports(self) -> Iterator[Report]:
        """Yield a report for each chunk, as they are committed.

        A report with chunk -1 says that Ray gave up; what is left is for another pass.

        Raises:
            RaygenError: as a stage raised it. RayTaskError: a bug of ours.
        """
        problem = self._pools.start(lambda: self._stopping)
        if problem is not None:
            yield Report(-1, problem=problem)
        if problem is not None or self._stopping:
            return
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
        wide = chunks_in_flight(work.job, work.models, stand_ins(work.models, self._groups, self._board))
        groups = [stages.pack_group(group) for group in self._todos]
        # A worker process costs more to start than many chunks to read: on one machine, no more of them than help. Reading
        # streams; writing waits for the store.
        half = int(self._capacity.cpus / 2)
        widths = (max(1, half), max(2, half)) if self._capacity.fixed else (None, None)
        with our_settings() as settings:
            settings.execution_options.exclude_resources = self._taken()
            return self._stages(groups, wide, *widths)

    def _stages(
        self, groups: list[bytes], wide: int, readers: int | None, writers: int | None
    ) -> ray.data.Dataset:
        work, execution, hosts = self._work, self._work.job.execution, self._groups[0]
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
                fn_constructor_kwargs={"work": work, "board": self._board, "groups": self._groups},
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(
                    min_size=hosts.low,
                    max_size=hosts.high,
                    max_tasks_in_flight_per_actor=2 * wide,
                    max_concurrent_calls_per_actor=wide,
                    enable_true_multi_threading=True,
                ),
                num_cpus=hosts.cpus,
                num_gpus=hosts.gpus or None,
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
        add_figures(found, self._pools.gauges())
        return found

    def close(self) -> None:
        self._pools.close()
        self._board = (
            None  # it ends with its last handle; killed, it would be missed by engines that are still ending
        )

    def _taken(self) -> ray.data.ExecutionResources:
        """Return what the pools hold for certain: Ray Data counts what the whole cluster has."""
        pools = self._groups[1:]
        return ray.data.ExecutionResources(
            cpu=sum(pool.low * pool.cpus for pool in pools), gpu=sum(pool.low * pool.gpus for pool in pools)
        )

    def _laid_out(self) -> list[Group]:
        """Return how many engine hosts and replicas to have: never more than a Ray that cannot grow has room for.

        Raises:
            ConfigError: the fewest wanted do not fit; Ray would wait for ever.
        """
        job, cores = self._work.job, usable_cores()
        groups = groups_of(job, self._work.models, cores, sum(map(len, self._todos)))
        reserve = job.execution.cpus_per_read + job.execution.cpus_per_write
        return laid_out(groups, self._capacity, reserve, cores)


def _task_retries() -> dict[str, Any]:
    return {"max_retries": MAX_RETRIES}


def _engine_retries() -> dict[str, Any]:
    return {"max_restarts": MAX_RETRIES, "max_task_retries": MAX_RETRIES}
