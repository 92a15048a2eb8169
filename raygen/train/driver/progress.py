"""A training's progress for people: what is shown, as a line and as a panel."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from raygen.formatting import count, duration
from raygen.terminal import Display, fitting_display, progress_panel

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class TrainProgress:
    """What a display shows, every tick."""

    name: str
    phase: str  # `preparing`, `starting workers`, `training`, `stopping`
    done: int  # steps; while preparing, parts of the source
    total: int
    workers: int
    epoch: int = 0
    loss: float | None = None  # mean of the last steps
    speed: float | None = None  # units a second, in the last steps
    unit: str = "tokens"
    learning_rate: float | None = None
    validation: dict[str, float] = field(default_factory=dict)  # the latest evaluation
    metric: str = "loss"  # the one that decides
    best: float | None = None
    eta_s: float | None = None
    elapsed_s: float = 0.0
    memory_bytes: int | None = None  # of the first worker's process
    restarts: int = 0
    evaluating: bool = False  # in place of computing steps


def make_train_display(quiet: bool = False) -> Display[TrainProgress] | None:
    """Return what fits standard error; None when nothing is to be shown."""
    return fitting_display(line, panel, quiet)


def line(progress: TrainProgress) -> str:
    """Return one line: steps, loss, speed, validation, time left."""
    if progress.phase != "training":
        counted = f" · {progress.done:,}/{progress.total:,}" if progress.total else ""
        return f"{progress.phase}{counted} · {duration(progress.elapsed_s, whole=True)}"
    parts = [f"step {progress.done:,}/{progress.total:,}", *figures(progress), *validation(progress)]
    return " · ".join([*parts, f"ETA {duration(progress.eta_s, whole=True)}"])


def figures(progress: TrainProgress) -> list[str]:
    """Return the figures of a training, in words, for its progress line."""
    parts = []
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.4g}")
    if progress.learning_rate is not None:
        parts.append(f"learning rate {progress.learning_rate:.3g}")
    if progress.evaluating:
        parts.append("evaluating")
    elif progress.speed is not None:
        parts.append(f"{progress.speed:,.0f} {progress.unit}/s")
    if progress.memory_bytes is not None:
        parts.append(f"memory {progress.memory_bytes / 2**30:.1f} GiB")
    if progress.restarts:
        parts.append(f"restarts {progress.restarts}")
    return parts


def validation(progress: TrainProgress) -> list[str]:
    """Return the metric that decides, as it is and at its best; and the loss beside it."""
    found = progress.validation
    if progress.metric not in found:
        return []
    best = "" if progress.best is None else f" (best {progress.best:.4g})"
    parts = [f"validation {progress.metric} {found[progress.metric]:.4g}{best}"]
    if progress.metric != "loss" and "loss" in found:
        parts.append(f"loss {found['loss']:.4g}")
    return parts


def panel(progress: TrainProgress) -> RenderableType:
    """Return the progress as a panel."""
    from rich.text import Text

    state = "" if progress.phase == "training" else f" ({progress.phase})"
    workers = count(progress.workers, "worker") if progress.workers else ""
    unit = "parts" if progress.phase == "preparing" else "steps"
    counted = f"  {progress.done:,}/{progress.total:,} {unit}" if progress.total else ""
    rest = [workers] if workers else []
    if progress.phase == "training":
        rest += [f"epoch {progress.epoch + 1}", f"ETA {duration(progress.eta_s, whole=True)}"]
    return progress_panel(
        f"{progress.name}{state}{counted}  {duration(progress.elapsed_s, whole=True)}",
        progress.done,
        progress.total,
        Text(" · ".join(figures(progress))),
        Text(" · ".join(validation(progress)), style="green"),
        Text(" · ".join(rest), style="dim"),
    )
