"""Train status: where a training or a sweep stands, told from its directory alone, without its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from raygen.errors import CorruptDataError, KeyNotFoundError
from raygen.formatting import count, duration
from raygen.runs.session import read_sessions
from raygen.storage import Store
from raygen.storage.sealed import read_sealed
from raygen.train.driver.claim import RECIPE_KEY
from raygen.train.driver.session import TrainSession, at_work
from raygen.train.loop.checkpoint import complete_steps, read_state
from raygen.train.loop.records import FINISHED_KEY, MetricsLog, is_evaluation, number, validations

BEST_KEY = "best.yaml"  # of a sweep; written last
TRIALS = "trials/"
RECENT = 20  # steps that loss and speed are the means of
PER_CLASS = ("precision_", "recall_", "f1_")  # metrics of one label each


@dataclass(frozen=True)
class TrainStatus:
    """Where a training or a sweep stands."""

    name: str
    run: str
    state: str  # claimed | preparing | running | interrupted | finished
    metric: str  # of the validation split: what the best checkpoint has best
    step: int  # the last one that was computed
    total: int | None  # None while it is unknown
    epoch: int | None
    loss: float | None  # mean of the last steps
    learning_rate: float | None
    speed: float | None  # units a second, in the last steps
    unit: str
    eta_s: float | None  # of a running one
    validation: dict[str, float] = field(default_factory=dict)  # the last evaluation
    validated_step: int | None = None
    checkpoints: list[int] = field(default_factory=list)  # steps that it can go back to
    best_step: int | None = None
    best: float | None = None  # the metric there
    kept_step: int | None = None  # of a finished one: whose weights the model has
    evaluated: dict[str, dict[str, float]] = field(
        default_factory=dict
    )  # of a finished one: split -> metrics
    model: str | None = None
    elapsed_s: float = 0.0  # that drivers spent on it, over all sessions
    sessions: int = 0
    note: str | None = None  # what ended the last session
    trials: list[TrainStatus] = field(default_factory=list)  # of a sweep

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def is_training(store: Store) -> bool:
    """Return whether this is the directory of a training, or of a sweep."""
    return store.exists(RECIPE_KEY)


def read_finished(store: Store) -> dict[str, Any] | None:
    """Return what a finished training came to, None for one that is not finished."""
    try:
        return read_sealed(store, FINISHED_KEY)
    except KeyNotFoundError:
        return None


def read_train_status(store: Store) -> TrainStatus:
    """Read where a training stands. Raises KeyNotFoundError: there is none; CorruptDataError: its records are damaged."""
    claimed = read_sealed(store, RECIPE_KEY)
    sweep = claimed["identity"].get("sweep")
    trials = [
        read_train_status(trial)
        for number in range(sweep["trials"] if sweep else 0)
        if is_training(trial := store.child(f"{TRIALS}{number}"))
    ]
    finished = read_finished(store) or {}
    sessions = read_sessions(store, TrainSession)
    alive = at_work(sessions)
    records = MetricsLog(store).records
    steps = [record for record in records if not is_evaluation(record)]
    last: Mapping[str, Any] = steps[-1] if steps else {}
    recent = steps[-RECENT:]
    unit = claimed.get("unit", "tokens")  # earlier trainings all counted tokens
    seconds = sum(each["seconds"] for each in recent)
    losses = [value for each in recent if (value := number(each, "loss")) is not None]
    measured = list(validations(records))
    saved = _newest_state(store)
    step = finished.get("steps") or (alive.step if alive else 0) or last.get("step", 0)
    total = (
        finished.get("steps") or saved.get("total") or max([0, *(each.total for each in sessions)]) or None
    )
    done = bool(finished) or (sweep is not None and store.exists(BEST_KEY))
    return TrainStatus(
        name=claimed["name"],
        run=store.uri,
        state=_state(done, alive, begun=bool(sessions or steps or trials)),
        metric=claimed["recipe"]["evaluation"]["metric"],
        step=step,
        total=total,
        epoch=last.get("epoch"),
        loss=sum(losses) / len(losses) if losses else None,
        learning_rate=last.get("learning_rate"),
        speed=sum(each[unit] for each in recent) / seconds if seconds else None,
        unit=unit,
        eta_s=(total - step) * seconds / len(recent) if alive and total and recent else None,
        validation=measured[-1]["metrics"] if measured else {},
        validated_step=measured[-1]["step"] if measured else None,
        checkpoints=sorted(complete_steps(store)),
        best_step=saved.get("best", {}).get("step"),
        best=saved.get("best", {}).get("value"),
        kept_step=finished.get("kept_step"),
        evaluated={split: found["metrics"] for split, found in finished.get("evaluated", {}).items()},
        model=store.uri_of(finished["model"]) if finished else None,
        elapsed_s=round(sum(max(0.0, each.updated_s - each.started_s) for each in sessions), 1),
        sessions=len(sessions),
        note=sessions[-1].note if sessions and not done else None,
        trials=trials,
    )


def _state(done: bool, alive: TrainSession | None, *, begun: bool) -> str:
    if done:
        return "finished"
    if alive is None:
        return "interrupted" if begun else "claimed"
    return "preparing" if alive.phase == "preparing" else "running"


def _newest_state(store: Store) -> dict[str, Any]:
    """Return the state of the newest checkpoint that is whole; nothing if there is none."""
    for step in sorted(complete_steps(store), reverse=True):
        try:
            return read_state(store, step)
        except (CorruptDataError, KeyNotFoundError):  # such as one that is being pruned
            continue
    return {}


def train_status_lines(status: TrainStatus) -> list[str]:
    """Return what `raygen status` prints."""
    lines = [f"{status.name}: {status.state}  ({status.run})"]
    rows: list[tuple[str, str | None]] = [("trials", _of_trials(status))]
    if not status.trials:
        rows = [
            ("steps", _steps(status)),
            ("speed", _speed(status)),
            ("validation", _validation(status)),
            (
                "best",
                None
                if status.best is None
                else f"{status.metric} {status.best:.4g} at step {status.best_step:,}",
            ),
            ("checkpoint", None if not status.checkpoints else f"step {status.checkpoints[-1]:,}"),
            *((split, _metrics(found)) for split, found in status.evaluated.items()),
            ("model", status.model),
        ]
    if status.sessions:
        rows.append(
            (
                "time",
                f"{duration(status.elapsed_s, whole=True)} in {count(status.sessions, 'session')}",
            )
        )
    rows.append(("note", status.note))
    lines += [f"  {name:10}  {text}" for name, text in rows if text]
    for place, trial in enumerate(status.trials):
        state = (
            "stopped early" if status.state == "finished" and trial.state == "interrupted" else trial.state
        )
        best = "" if trial.best is None else f", {trial.metric} {trial.best:.4g} at step {trial.best_step:,}"
        lines.append(f"  trial {place}: {state}, {_steps(trial)}{best}")
    if status.state == "interrupted":
        lines.append("  run the same command again to resume")
    return lines


def _of_trials(status: TrainStatus) -> str | None:
    ended = sum(trial.state == "finished" for trial in status.trials)
    return f"{len(status.trials):,} begun, {ended:,} ran to their end" if status.trials else None


def _steps(status: TrainStatus) -> str:
    of = f" of {status.total:,}" if status.total and not status.kept_step else ""
    epoch = "" if status.epoch is None else f", epoch {status.epoch + 1}"
    loss = "" if status.loss is None else f", loss {status.loss:.4g}"
    return f"{status.step:,}{of}{epoch}{loss}"


def _speed(status: TrainStatus) -> str | None:
    if status.speed is None:
        return None
    eta = "" if status.eta_s is None else f", ETA {duration(status.eta_s, whole=True)}"
    return f"{status.speed:,.0f} {status.unit}/s in steps{eta}"


def _validation(status: TrainStatus) -> str | None:
    if not status.validation or "validation" in status.evaluated:
        return None
    return f"{_metrics(status.validation)} at step {status.validated_step:,}"


def _metrics(found: Mapping[str, Any]) -> str:
    shown = {name: number(found, name) for name in found if not name.startswith(PER_CLASS)}
    return ", ".join(
        f"{name} {'-' if value is None else format(value, '.4g')}" for name, value in shown.items()
    )
