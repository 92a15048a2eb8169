"""Launch: a training's workers on Ray Train, started again from the last checkpoint when processes or nodes are lost."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from raygen.cluster.causes import known_cause
from raygen.cluster.connect import capacity, fitting
from raygen.cluster.private import raised_in_worker
from raygen.cluster.quiet import quieten
from raygen.engines.worker import OPENMP
from raygen.errors import ConfigError, TrainingError
from raygen.messages import Say
from raygen.train.recipe import Recipe

# About 3 ms, OpenMP's own measure. Between a step's many parallel regions the engines' 0.1 ms are too short: the threads of
# a training fell asleep for a tenth of the time and longer, and each awakening costs (docs/log.md).
SPIN = {**OPENMP, "GOMP_SPINCOUNT": "300000"}
FEED_CPUS = 0.5  # of a Ray that cannot grow, left to the tasks that read blocks
MOST_LOSSES = 3  # without a step further than before: then it is no accident
TICK_S = 0.5
MAX_MESSAGE = 120  # characters of what Ray says about a loss


class Restarts:
    """Whether to start again after a failure: as long as the training gets further. Plain Python."""

    def __init__(self) -> None:
        self._furthest = 0
        self._in_vain = 0
        self.number = 0

    def again(self, step: int) -> bool:
        """Take note of a failure when `step` was the last one computed; the answer is whether to start again."""
        self._in_vain = 1 if step > self._furthest else self._in_vain + 1
        self._furthest = max(step, self._furthest)
        if self._in_vain > MOST_LOSSES:
            return False
        self.number += 1
        return True


def launch(
    recipe: Recipe,
    worker: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    *,
    tick: Callable[[int], int],
    stopped: Callable[[], bool],
    say: Say,
) -> bool:
    """Run the workers to the training's end; False when `stopped` says that they were to be left.

    Args:
        worker: the training loop, in every worker; config: what it is given.
        tick: called now and then with the number of restarts; returns the last step that was computed.

    Raises:
        ConfigError: there is no room for the workers. RaygenError: as a worker raised it.
        TrainingError: workers were lost again and again.
    """
    restarts = Restarts()
    while True:
        attempt = _Attempt(recipe, worker, config)
        while not attempt.ended.wait(TICK_S):
            tick(restarts.number)
            if stopped():
                return False
        step = tick(restarts.number)
        if attempt.error is None:
            return True
        problem = _judge(attempt.error, workers=attempt.workers)
        if not restarts.again(step):
            raise TrainingError(
                f"workers were lost {MOST_LOSSES + 1} times without getting beyond step {step:,}: {problem}. If memory "
                f"ran out, lower {recipe.batch.remedy()} or workers; the same command resumes from the "
                "last checkpoint"
            )
        say(f"workers were lost after step {step:,} ({problem}); starting again from the last checkpoint")


class _Attempt:
    """Ray Train's `fit`, on a thread: its own handling of signals would need the main one, and end the process."""

    def __init__(
        self, recipe: Recipe, worker: Callable[[dict[str, Any]], None], config: dict[str, Any]
    ) -> None:
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self.workers = width(recipe)
        threading.Thread(target=self._fit, args=(recipe, worker, config), daemon=True).start()

    def _fit(self, recipe: Recipe, worker: Callable[[dict[str, Any]], None], config: dict[str, Any]) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="raygen-train-") as scratch:
                _trainer(recipe, worker, config, self.workers, scratch).fit()
        except BaseException as error:  # noqa: BLE001 - it goes on in the driver's thread
            self.error = error
        self.ended.set()


def _trainer(
    recipe: Recipe,
    worker: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    workers: int | tuple[int, int],
    scratch: str,
) -> Any:
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # relative paths mean in workers what they mean here
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1")  # after which the end is noticed
    quieten()
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from raygen.train.loop.process_group import GroupConfig

    resources = {"CPU": recipe.cpus_per_worker}
    if recipe.gpus_per_worker:
        resources["GPU"] = recipe.gpus_per_worker
    return TorchTrainer(
        worker,
        train_loop_config=config,
        torch_config=GroupConfig(),
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=recipe.gpus_per_worker > 0, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=recipe.name,
            storage_path=scratch,  # checkpoints are our own business
            worker_runtime_env={"env_vars": openmp()},
            # Ray would try again after any error, a user's too: which ones deserve it is judged here. A worker group that
            # does not start in time is tried again only where nodes may still join.
            failure_config=FailureConfig(
                max_failures=0, controller_failure_limit=1 if capacity().fixed else -1
            ),
        ),
    )


def openmp() -> dict[str, str]:
    """Return how workers' threads wait: as the environment says, but not as an engine of this process has set it."""
    found = {}
    for name, ours in SPIN.items():
        given = os.environ.get(name, OPENMP[name])
        found[name] = ours if given == OPENMP[name] else given
    return found


def width(recipe: Recipe) -> int | tuple[int, int]:
    """Return how many workers to start: what a Ray that cannot grow has room for; else as the recipe says.

    Raises:
        ConfigError: the fewest wanted do not fit; Ray would wait for ever.
    """
    room, wanted = capacity(), recipe.workers
    if not room.fixed:
        return wanted
    low, high = (wanted, wanted) if isinstance(wanted, int) else wanted
    cpus, gpus = (recipe.cpus_per_worker, room.cpus - FEED_CPUS), (recipe.gpus_per_worker, room.gpus)
    fit = fitting(high, cpus, gpus)
    if fit < low:
        raise ConfigError(
            f"workers: at least {low} of {recipe.cpus_per_worker:g} CPUs and {recipe.gpus_per_worker:g} GPUs wanted, but "
            f"this Ray has {room.cpus:g} logical CPUs ({FEED_CPUS:g} of them for reading) and {room.gpus:g} GPUs: room for "
            f"{max(0, fit)}. Lower workers, cpus_per_worker or gpus_per_worker"
        )
    return fit


def _judge(error: BaseException, workers: int | tuple[int, int]) -> str:
    """Put into a line what ended the workers. Raises it, if starting again would not help.

    Args:
        workers: how many there were. What some of them raise may be the echo of another's death; what all raise is not.
    """
    own = getattr(error, "controller_failure", error)  # such as a worker group that did not start in time
    failures = getattr(error, "worker_failures", None) or {-1: own}
    causes = {rank: raised_in_worker(each) for rank, each in sorted(failures.items())}
    for cause in causes.values():
        if (known := known_cause(cause)) is not None:
            raise known
    deaths = {rank: each for rank, each in causes.items() if type(each).__module__.startswith("ray.")}
    if not deaths and len(causes) == workers and len({type(each) for each in causes.values()}) == 1:
        raise next(iter(causes.values()))
    rank, worst = next(iter((deaths or causes).items()))
    worst = getattr(worst, "health_check_failure", worst)
    text = str(worst).strip().partition("\n")[0]  # Ray goes on with ids and addresses
    who = f"worker {rank}" if rank >= 0 else "Ray Train"
    return f"{who}: {type(worst).__name__}: {text[:MAX_MESSAGE]}"
