"""Plots of a training's report, as inline SVG: its curves over the steps, and how far confidence can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from raygen.formatting import count, number
from raygen.reports.sheet import ACCENT, INK, LINE, MUTED, SECOND, WIDE_PX, Sheet, both

if TYPE_CHECKING:
    import numpy as np

POINTS_WIDE, POINTS_NARROW = 300, 120  # drawn of a curve; a longer one shows means, and the range about them
MARKED = 60  # evaluations, at most, that get a dot each
PANEL_PX = 165

Curve = list[tuple[float, float]]  # (step, value); values may be missing: NaN


@dataclass(frozen=True)
class Curves:
    """What a training said of itself, step by step."""

    loss: Curve = field(default_factory=list)
    learning_rate: Curve = field(default_factory=list)
    speed: list[tuple[float, float, float]] = field(default_factory=list)  # step, cost, seconds
    validation: dict[str, Curve] = field(
        default_factory=dict
    )  # metric -> evaluations of the validation split
    unit: str = "tokens"  # what a step's cost is counted in

    @classmethod
    def of(cls, records: Sequence[dict[str, Any]], unit: str = "tokens") -> Curves:
        """Sort out the records of a metrics log. What is missing or null is NaN."""
        curves = cls(unit=unit)
        for record in records:
            step = value_of(record, "step")
            if math.isnan(step):
                continue
            if "split" in record:
                if record["split"] == "validation":
                    for name in record.get("metrics") or {}:
                        point = (step, value_of(record["metrics"], name))
                        curves.validation.setdefault(name, []).append(point)
                continue
            curves.loss.append((step, value_of(record, "loss")))
            curves.learning_rate.append((step, value_of(record, "learning_rate")))
            curves.speed.append((step, value_of(record, unit), value_of(record, "seconds")))
        return curves


def value_of(record: dict[str, Any], name: str) -> float:
    """Return a number of a record; NaN if it is missing, null, infinite, or something else."""
    value = record.get(name)
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if known else math.nan  # type: ignore[arg-type]


def training_curves(curves: Curves, metric: str) -> str:
    """Loss of training and validation, the metric that decides, learning rate and speed, over the steps.

    Returns "" where there is nothing to draw.

    Args:
        metric: of the validation split; drawn by itself unless it is the loss.
    """
    validated = curves.validation.get("loss", [])
    chosen = [] if metric == "loss" else curves.validation.get(metric, [])
    names = [
        name
        for name, points in (
            ("loss", [*curves.loss, *validated]),
            (metric, chosen),
            ("learning rate", curves.learning_rate),
            (f"{curves.unit}/s", [(step, cost / s) for step, cost, s in curves.speed if s > 0]),
        )
        if any(not math.isnan(value) for _, value in points)
    ]
    if not names:
        return ""

    def draw(width: int) -> str:
        wide = width == WIDE_PX
        points = POINTS_WIDE if wide else POINTS_NARROW
        height = 64 + PANEL_PX * len(names)
        sheet = Sheet(width, height, left=66 if wide else 58, right=14, top=26, bottom=38)
        panels = sheet.axes(len(names))
        for axes, name in zip(panels, names, strict=True):
            if name == "loss":
                _line(axes, curves.loss, points, ACCENT)
                _dots(axes, validated)
                _legend(axes, [(ACCENT, "training", curves.loss), (SECOND, "validation", validated)])
            elif name == metric:
                _dots(axes, chosen)
                _legend(axes, [(SECOND, "validation", chosen)])
            elif name == "learning rate":
                _line(axes, curves.learning_rate, points, MUTED)
            else:
                _speed(axes, curves.speed, points)
            # A metric may be named after a label: matplotlib's fonts lack most scripts.
            plain = name.replace("_", " ").encode("ascii", "backslashreplace").decode()
            axes.set_title(plain, loc="left", color=INK, parse_math=False)
            axes.yaxis.set_major_locator(sheet.ticks(4))
            axes.yaxis.set_major_formatter(lambda y, _: number(round(y, 12)))
            axes.grid(axis="y", color=LINE)
            axes.margins(x=0.01, y=0.12)
            if name in ("loss", metric):
                _stand_on_a_label(axes)
            if name == "learning rate":
                axes.set_ylim(bottom=0)
        panels[-1].xaxis.set_major_locator(sheet.ticks(10 if wide else 4, whole=True))
        panels[-1].xaxis.set_major_formatter(lambda x, _: number(x))
        panels[-1].set_xlabel("step")
        return sheet.svg(f"curves{width}", _described(curves, metric))

    return both(draw)


def reliability(bins: dict[str, Any], before: dict[str, Any] | None = None, name: str = "") -> str:
    """Accuracy over confidence, beside the diagonal where both agree, and how many rows have which confidence.

    Args:
        bins: of raygen.metrics.calibration.Bins, as JSON; before: the same, without the temperature.
        name: of the split; there may be several in a page.
    """
    from itertools import pairwise

    shown: list[tuple[str, str, Any, dict[str, Any]]] = [("as saved", ACCENT, "-", bins)]
    if before:
        shown.insert(0, ("before the temperature", SECOND, (0, (4, 3)), before))
    rows = sum(bins["count"])
    label = f"Accuracy over confidence of {number(rows)} rows: " + ", ".join(
        f"{a:.0%} right at {c:.0%}"
        for c, a in zip(bins["confidence"], bins["accuracy"], strict=True)
        if c is not None
    )

    def draw(width: int) -> str:
        wide = width == WIDE_PX
        sheet = Sheet(width, 430, left=56 if wide else 46, right=14, top=26, bottom=38)
        above, below = sheet.axes(2, heights=(3, 1))
        above.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
        for _, color, style, each in shown:
            pairs = zip(each["confidence"], each["accuracy"], strict=True)
            spots = [(c, a) for c, a in pairs if c is not None]
            above.plot(*zip(*spots, strict=True), color=color, linestyle=style, marker="o", markersize=4.5)
        _legend(above, [(color, name, [(0.0, 0.0)]) for name, color, _, _ in shown])
        above.set_title("share that is right", loc="left", color=INK)
        above.set_ylim(-0.02, 1.03)
        edges = list(pairwise(bins["edges"]))
        middles = [(low + high) / 2 for low, high in edges]
        below.bar(middles, bins["count"], width=0.9 * (edges[0][1] - edges[0][0]), color=ACCENT)
        below.set_title("rows", loc="left", color=INK)
        below.set_xlim(0, 1.01)
        below.set_xlabel("confidence")
        below.yaxis.set_major_locator(sheet.ticks(3, whole=True))
        below.yaxis.set_major_formatter(lambda y, _: number(y))
        for axis in (above.yaxis, below.xaxis):
            axis.set_major_locator(sheet.ticks([0, 0.25, 0.5, 0.75, 1]))
            axis.set_major_formatter(lambda y, _: f"{y:.0%}")
        for axes in (above, below):
            axes.grid(axis="y", color=LINE)
        return sheet.svg(f"reliability{name}{width}", label)

    return both(draw)


def thinned(points: Curve, most: int) -> tuple[np.ndarray, ...]:
    """Return at most `most` points of a curve: steps, means, lowest and highest values; NaN where all are missing."""
    import warnings

    import numpy as np

    values = np.array(points, float).reshape(-1, 2)
    parts = np.array_split(values, min(most, len(values))) if len(values) else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a part without a number
        columns = [
            (part[:, 0].mean(), np.nanmean(part[:, 1]), np.nanmin(part[:, 1]), np.nanmax(part[:, 1]))
            for part in parts
        ]
    return tuple(np.array(columns, float).reshape(-1, 4).T)


def _line(axes: Any, points: Curve, most: int, color: str) -> None:
    steps, means, low, high = thinned(points, most)
    if len(points) > most:
        axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)
    # A single point, or one between gaps, is no line.
    axes.plot(
        steps, means, color=color, linewidth=1.6, marker="o", markersize=3 if len(steps) < MARKED else 0
    )


def _dots(axes: Any, points: Curve) -> None:
    steps, means, _, _ = thinned(points, POINTS_WIDE)
    axes.plot(
        steps, means, color=SECOND, linewidth=1.4, marker="o", markersize=5 if len(steps) < MARKED else 0
    )


def _speed(axes: Any, speed: Sequence[tuple[float, float, float]], most: int) -> None:
    """Tokens over seconds of each part of the steps: a mean of rates would make quick steps count for more."""
    import numpy as np

    known = np.array([each for each in speed if each[2] > 0 and not math.isnan(each[1])])
    parts = np.array_split(known, min(most, len(known)))
    steps = [part[:, 0].mean() for part in parts]
    rates = [part[:, 1].sum() / part[:, 2].sum() for part in parts]
    axes.fill_between(steps, rates, color=ACCENT, alpha=0.18, linewidth=0)
    axes.plot(
        steps, rates, color=ACCENT, linewidth=1.4, marker="o", markersize=3 if len(steps) < MARKED else 0
    )
    axes.set_ylim(0, 1.12 * max(rates))


def _stand_on_a_label(axes: Any) -> None:
    """Let the panel begin at a tick: its lower edge looks like a grid line, and would be the only one without a number."""
    ticks = axes.yaxis.get_major_locator().tick_values(*axes.get_ylim())
    axes.set_ylim(bottom=max((tick for tick in ticks if tick <= axes.dataLim.y0), default=None))
    axes.yaxis.set_major_locator(Sheet.ticks(list(ticks)))


def _legend(axes: Any, entries: Sequence[tuple[str, str, Curve]]) -> None:
    """Names in the colours of their curves, above the panel on the right."""
    place = 1.0
    for color, name, points in reversed(entries):
        if points:
            axes.text(
                place, 1.03, f"● {name}", color=color, ha="right", va="bottom", transform=axes.transAxes
            )
            place -= (len(name) + 4) * 6.6 / axes.bbox.width


def _described(curves: Curves, metric: str) -> str:
    known = [(step, value) for step, value in curves.loss if not math.isnan(value)]
    said = [f"Training over {count(int(curves.loss[-1][0]), 'step')}" if curves.loss else "Training"]
    if known:
        said.append(f"loss {number(known[0][1])} at first, {number(known[-1][1])} at last")
    for name in dict.fromkeys(("loss", metric)):
        evaluated = [value for _, value in curves.validation.get(name, []) if not math.isnan(value)]
        if evaluated:
            said.append(
                f"validation {name.replace('_', ' ')} {number(evaluated[0])} at first, {number(evaluated[-1])} at last"
            )
    return f"{said[0]}: {'; '.join(said[1:])}" if said[1:] else said[0]
