"""Train: from a recipe to a model directory. Claims the run directory, prepares, runs the workers, writes the report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raygen.errors import ConfigError, StorageError
from raygen.extras import require
from raygen.messages import Say, sayer
from raygen.models.families import family_of
from raygen.models.fetch.reference import resolve
from raygen.models.fetch.weights import ResolvedWeights
from raygen.reports.page import REPORT_KEY
from raygen.runs.session import read_sessions
from raygen.storage import Store, open_store
from raygen.terminal import Display
from raygen.train.driver.claim import RECIPE_KEY, claim
from raygen.train.driver.progress import TrainProgress
from raygen.train.driver.session import TrainSession, at_work, session
from raygen.train.driver.status import read_finished
from raygen.train.families.base import trainer_class
from raygen.train.loop.order import total_steps
from raygen.train.loop.records import read_metrics, validations
from raygen.train.loop.training import train_worker
from raygen.train.prepare.prepared import Prepared
from raygen.train.recipe import Recipe


@dataclass(frozen=True)
class TrainResult:
    """What a call of `train` came to."""

    uri: str
    state: str  # `finished` or `interrupted`
    steps: int  # computed so far, of all sessions
    metrics: dict[str, dict[str, float]]  # split -> metric -> value, of the model that was kept
    model: str | None = None  # directory of the model, or of the adapter; None if interrupted
    report: str | None = None
    usage: str | None = None  # how to name the model in a job, or in a program
    baselines: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # name -> metric -> value, of a classifier

    @property
    def exit_code(self) -> int:
        return 0 if self.state == "finished" else 130


def train(
    recipe: Recipe,
    *,
    display: Display[TrainProgress] | None = None,
    say: Say | None = None,
    listen: Callable[[dict[str, Any]], None] | None = None,
    prepared_uri: str | None = None,
) -> TrainResult:
    """Train a model to its end, or go on where an earlier session stopped.

    Args:
        listen: is told every evaluation on the validation split, those of earlier sessions too.
        prepared_uri: the directory with what was prepared, if it is not the run's own (several trainings may share it).
        say: takes lines for people, such as what was prepared; None: they are logged (messages.py).

    Raises:
        UserError: refused: configuration, source, base model, or a directory that holds another training.
        TrainingError: the loss is not finite, memory ran out, or workers were lost again and again. What was
            saved stays; the same call resumes.
        StorageError: the store stopped answering.
    """
    require("train", "training")
    say = say or sayer(training=recipe.output_uri)
    store = open_store(recipe.output_uri, recipe.source.storage)
    base = checked_base(recipe)
    identity = {**recipe.identity(), "base_digest": base.digest}
    claim(
        store,
        RECIPE_KEY,
        recipe.name,
        identity,
        recipe=recipe.model_dump(mode="json"),
        unit=recipe.batch.unit,
    )
    if (finished := read_finished(store)) is not None:
        say(f"{store.uri} is finished; nothing to do")
        if listen:
            for record in validations(read_metrics(store)):
                listen(record)
        return _finished(store, recipe, finished, say)
    from raygen.cluster.actors import start_beside_driver
    from raygen.cluster.connect import connected
    from raygen.train.driver.board import TrainBoard
    from raygen.train.driver.launch import launch, width
    from raygen.train.driver.watch import Watch

    if (other := at_work(read_sessions(store, TrainSession))) is not None:
        say(
            f"{store.uri}: process {other.pid} on {other.host} seems to be training here too; both compute the same"
        )
    with session(store) as current, connected():
        width(recipe)  # refused before any work
        where = open_store(prepared_uri, recipe.source.storage) if prepared_uri else store
        prepared = prepare_shown(recipe, base.path, where, display, say)
        total = total_steps(
            prepared.blocks["train"], recipe.seed, recipe.epochs, recipe.batch.step_cost, recipe.max_steps
        )
        higher = recipe.evaluation.metric in trainer_class(recipe.family).higher_is_better
        current.begin(store, total)
        watch = Watch(
            recipe, store, total, higher, display, listen, validates=bool(prepared.blocks.get("validation"))
        )
        board = start_beside_driver(TrainBoard)
        config = {
            "recipe": recipe.model_dump(mode="json"),
            "directory": str(base.path),
            "uri": store.uri,
            "prepared_uri": where.uri,
            "board": board,
        }

        def tick(restarts: int) -> int:
            current.step = watch.tick(restarts)
            return current.step

        with watch.session(board):
            launch(recipe, train_worker, config, tick=tick, stopped=watch.left, say=say)
        finished = read_finished(store)
        if finished is not None:
            current.state = "finished"
    if finished is None:
        steps = max((record["step"] for record in watch.records), default=0)
        if not watch.stopping:
            raise StorageError(
                f"{store.uri}: the workers finished, but their model cannot be seen from here; the output has to be s3:// "
                "or a path that all nodes share"
            )
        return TrainResult(store.uri, "interrupted", steps, {})
    return _finished(store, recipe, finished, say)


def checked_base(recipe: Recipe) -> ResolvedWeights:
    """Find a recipe's base, and refuse what its family cannot learn from it. Raises UserError."""
    base = resolve(recipe.base, recipe.source.storage)
    trainer = trainer_class(recipe.family)
    check_phases(recipe)
    trainer.check_base(base.path)
    trainer(recipe, base.path).check()
    return base


def check_phases(recipe: Recipe) -> None:
    """Refuse settings of phases that the family does not have. Raises ConfigError."""
    known = trainer_class(recipe.family).PHASES
    for name in recipe.phases or {}:
        if name not in known:
            raise ConfigError(
                f"phases.{name}: family {recipe.family} has no such phase; allowed: {', '.join(known)}"
            )


def prepare_shown(
    recipe: Recipe, base: Path, store: Store, display: Display[TrainProgress] | None, say: Say
) -> Prepared:
    """Prepare, with progress. See raygen.train.prepare.prepare."""
    from raygen.train.prepare.prepare import prepare

    began_s = time.monotonic()

    def progress(done: int, total: int) -> None:
        if display:
            elapsed_s = time.monotonic() - began_s
            display.update(TrainProgress(recipe.name, "preparing", done, total, 0, elapsed_s=elapsed_s))

    return prepare(recipe, base, store, say=display.say if display else say, progress=progress)


def _finished(store: Store, recipe: Recipe, finished: dict[str, Any], say: Say) -> TrainResult:
    """Return the result of a finished training, with its report; a session may have died before it wrote one."""
    evaluated = finished["evaluated"]
    baselines = finished.get("baselines", {})
    report = None
    try:
        shown = {**evaluated, "baselines": baselines}
        report = (
            store.uri_of(REPORT_KEY)
            if store.exists(REPORT_KEY)
            else _report(store, recipe, shown, finished.get("kept_step"))
        )
    except Exception as error:  # noqa: BLE001 - the model is there, whatever became of its picture
        say(f"the report could not be written: {type(error).__name__}: {error}")
    metrics = {split: found["metrics"] for split, found in evaluated.items()}
    model = finished["model"]
    usage = _usage(recipe, store.uri_of(model), adapter=store.exists(f"{model}/adapter_config.json"))
    beside = {name: found["metrics"] for name, found in baselines.items()}
    return TrainResult(
        store.uri, "finished", finished["steps"], metrics, store.uri_of(model), report, usage, beside
    )


def _usage(recipe: Recipe, model: str, adapter: bool) -> str:
    family = family_of(recipe.family)
    if family.usage is not None:
        return family.usage.replace("{model}", model)
    whole = f"family: {recipe.family}, engine: {next(iter(family.engines), '...')}"
    if recipe.template:  # it is asked as it learnt
        whole += f", options: {{template: {json.dumps(recipe.template)}}}"
    if adapter:
        return f"models: {{writer: {{{whole}, ref: {recipe.base}, adapters: {{mine: {model}}}}}}}"
    return f"models: {{writer: {{{whole}, ref: {model}}}}}"


def _report(store: Store, recipe: Recipe, evaluated: dict[str, Any], kept: int | None) -> str:
    from raygen.reports.training import write_train_report

    prepared = Prepared.load(store)
    counts = prepared.counts if prepared else {}
    records = list(read_metrics(store))
    return write_train_report(
        store,
        recipe.name,
        recipe.model_dump(mode="json"),
        records,
        evaluated,
        counts,
        kept,
        recipe.batch.unit,
    )
