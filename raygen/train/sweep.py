"""Sweep: trainings of one recipe with varied settings, on Ray Tune; the weak ones are stopped early. The best recipe is kept."""

from __future__ import annotations

import io
import math
import os
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import yaml

from raygen.errors import InterruptedRunError, RaygenError, TrainingError
from raygen.formatting import count
from raygen.messages import Say, sayer
from raygen.models.fetch.reference import resolve
from raygen.storage import Store, open_store
from raygen.train.driver.claim import RECIPE_KEY, claim
from raygen.train.driver.session import session
from raygen.train.driver.status import BEST_KEY
from raygen.train.families.base import trainer_class
from raygen.train.loop.records import number, read_metrics, validations
from raygen.train.recipe import Recipe
from raygen.train.run import prepare_shown, train
from raygen.train.sweep_file import Sweep, draw, varied

TRIAL_CPUS = 0.01  # of the process that drives a trial; its workers ask for their own

# What of a recipe decides the prepared blocks: trials that vary nothing of it share one preparation.
PREPARING = (
    *("family", "base", "source", "validation_source", "test_source", "objective", "preparation"),
    *("augmentation", "seed"),
)


@dataclass(frozen=True)
class Trial:
    """A trial of a sweep, and what it came to."""

    number: int
    settings: dict[str, Any]
    steps: int  # computed
    value: float | None  # its best; None: it failed before it was ever evaluated
    problem: str | None


@dataclass(frozen=True)
class SweepResult:
    """What a sweep came to."""

    uri: str
    metric: str
    trials: list[Trial]
    best: Trial
    best_uri: str

    def lines(self) -> list[str]:
        """Return what `raygen train --sweep` prints."""
        found = [_line(self.metric, trial) for trial in self.trials]
        return [*found, f"best: trial {self.best.number}", f"its recipe: {self.best_uri}"]


def run_sweep(recipe: Recipe, sweep: Sweep, *, say: Say | None = None) -> SweepResult:
    """Train with every drawn setting, below trials/ of the recipe's directory; the same call goes on with a killed one.

    Args:
        say: takes lines for people, such as what became of a trial; None: they are logged (messages.py).

    Raises:
        UserError: refused. TrainingError: every trial failed. InterruptedRunError: Ctrl-C.
    """
    say = say or sayer(training=recipe.output_uri)
    store = open_store(recipe.output_uri, recipe.source.storage)
    trainer = trainer_class(recipe.family)
    metric = sweep.metric or recipe.evaluation.metric
    mode = sweep.mode or ("max" if metric in trainer.higher_is_better else "min")
    base = resolve(recipe.base, recipe.source.storage)
    identity = {
        **recipe.identity(),
        "base_digest": base.digest,
        "sweep": sweep.model_dump(mode="json", exclude={"concurrent"}),
    }
    claim(
        store,
        RECIPE_KEY,
        recipe.name,
        identity,
        recipe=recipe.model_dump(mode="json"),
        unit=recipe.batch.unit,
    )
    recipes = [
        varied(recipe, {**settings, "output": store.uri_of(f"trials/{number}")}, f"trial {number}")
        for number, settings in enumerate(draw(sweep))
    ]
    batch = tuple(f"batch.{key}" for key in recipe.batch.preparing())
    shared = not any(name.startswith((*PREPARING, *batch)) for name in sweep.parameters)
    from raygen.cluster.connect import connected

    with session(store) as current, connected():
        if shared:
            prepare_shown(recipe, base.path, store, None, say)
        current.begin(store)
        try:
            problems = _tune(recipes, sweep, metric, mode, store.uri if shared else None, say)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                "interrupted; trials go on from their last checkpoints: the same command resumes the sweep"
            ) from None
        trials = [
            _judged(number, settings, store.child(f"trials/{number}"), metric, mode, problems.get(number))
            for number, settings in enumerate(draw(sweep))
        ]
        result = _best(recipe, store, metric, mode, trials)
        current.state = "finished"
    return result


def _tune(
    recipes: list[Recipe],
    sweep: Sweep,
    metric: str,
    mode: str,
    prepared_uri: str | None,
    say: Say,
) -> dict[int, str]:
    """Run the trials; returns what went wrong, by number."""
    os.environ.setdefault(
        "RAY_AIR_NEW_OUTPUT", "0"
    )  # its tables would stand among our results, however quiet it is
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl-C ends the command
    from ray import tune

    from raygen.cluster.quiet import quieten

    quieten()
    scheduler = None
    if sweep.asha is not None:
        scheduler = tune.schedulers.ASHAScheduler(
            time_attr="step", metric=metric, mode=mode, max_t=2**40,
            grace_period=sweep.asha.grace_steps, reduction_factor=sweep.asha.reduction,
        )  # fmt: skip
    problems: dict[int, str] = {}

    def one(config: dict[str, Any]) -> None:
        _trial(recipes[config["trial"]], metric, prepared_uri)

    class Telling(tune.Callback):
        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
        ) -> None:
            number = trial.config["trial"]
            if "problem" in result:
                problems[number] = result["problem"]
                say(f"trial {number}: {result['problem']}")
            else:
                say(f"trial {number}: step {result['step']:,}, {metric} {result[metric]:.4g}")

    # However quiet, Tune would print tables where results belong.
    with tempfile.TemporaryDirectory(prefix="raygen-sweep-") as scratch, redirect_stdout(io.StringIO()):
        tuner = tune.Tuner(
            tune.with_resources(one, {"CPU": TRIAL_CPUS}),
            param_space={"trial": tune.grid_search(list(range(len(recipes))))},
            tune_config=tune.TuneConfig(
                scheduler=scheduler, max_concurrent_trials=sweep.concurrent, reuse_actors=False
            ),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0, callbacks=[Telling()]),
        )
        found = tuner.fit()
    for error in found.errors:
        if not isinstance(error, RaygenError):
            raise error
    return problems


def _trial(recipe: Recipe, metric: str, prepared_uri: str | None) -> None:
    """Run a whole training in a trial's process, and tell Tune its evaluations."""
    from ray import tune

    def listen(record: dict[str, Any]) -> None:
        if (value := number(record["metrics"], metric)) is not None:
            tune.report({"step": record["step"], metric: value})

    try:
        train(recipe, listen=listen, prepared_uri=prepared_uri)
    except RaygenError as error:  # such as a loss that is not finite: the other trials go on
        tune.report({"step": 0, metric: math.nan, "problem": " ".join(str(error).split())})


def _judged(
    trial: int, settings: dict[str, Any], store: Store, metric: str, mode: str, problem: str | None
) -> Trial:
    records = list(read_metrics(store))
    found = [number(record["metrics"], metric) for record in validations(records)]
    values = [value for value in found if value is not None]
    best = (max if mode == "max" else min)(values) if values else None
    steps = max((record["step"] for record in records), default=0)
    return Trial(trial, settings, steps, best, problem)


def _best(recipe: Recipe, store: Store, metric: str, mode: str, trials: list[Trial]) -> SweepResult:
    """Write the best trial's recipe. Raises TrainingError."""
    valued = [trial for trial in trials if trial.value is not None and trial.problem is None]
    if not valued:
        first = next((trial.problem for trial in trials if trial.problem), None)
        raise TrainingError(
            f"no trial got as far as an evaluation with a finite {metric}{f'; the first said: {first}' if first else ''}"
        )
    sign = -1.0 if mode == "max" else 1.0
    best = min(valued, key=lambda trial: (sign * (trial.value or 0.0), trial.number))
    found = varied(recipe, {**best.settings, "output": store.uri_of("best")}, f"trial {best.number}")
    head = f"# The best of {len(trials)} trials: number {best.number}, {metric} {best.value:.6g}.\n"
    settings = yaml.safe_dump(found.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    store.put(BEST_KEY, (head + settings).encode())
    return SweepResult(store.uri, metric, trials, best, store.uri_of(BEST_KEY))


def _line(metric: str, trial: Trial) -> str:
    value = "-" if trial.value is None else f"{trial.value:.4g}"
    settings = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.settings.items()
    )
    problem = f"  ({trial.problem})" if trial.problem else ""
    return f"trial {trial.number}: {metric} {value} in {count(trial.steps, 'step')}  {settings}{problem}"
