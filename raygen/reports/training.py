"""The report of a training: curves, metrics, confusion, calibration and worst examples in one HTML file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from raygen import formatting as display
from raygen.reports.page import REPORT_KEY, fold, page_environment
from raygen.reports.plots.training import Curves, reliability, training_curves, value_of
from raygen.storage import Store

SPLITS = ("test", "validation")  # the one that says most comes first
LABELS = 24  # classes in a table; the rarest of more are put together
LABEL_CHARS = 40
WORST, FIELDS = 40, 12  # examples, and fields of one, that are shown
CARD_BYTES = 400_000  # text of all examples; later ones are left out, and the page says so
LISTING_CHARS = 60_000
LAST_STEPS = 20  # that the last loss is the mean of
SHADE = 0.55  # of the accent colour in a full cell: text stays readable on it

COUNTS = {
    "rows": "Rows read",
    "train": "Examples to train on",
    "validation": "Examples to validate on",
    "test": "Examples to test on",
    "broken": "Broken rows, skipped",
    "too_long": "Too long, skipped",
    "duplicates": "Duplicates, left out",
    "augmented": "Changed copies, of those to train on",
}
HEADLINES = ("accuracy", "macro_f1", "weighted_f1", "macro_precision", "macro_recall", "ece")
LOWER = ("loss", "perplexity", "ece")  # metrics that are better when lower
PER_CLASS = ("precision", "recall", "f1")


def write_train_report(
    store: Store,
    name: str,
    recipe: dict[str, Any],
    records: Sequence[dict[str, Any]],
    evaluated: dict[str, dict[str, Any]],
    counts: Mapping[str, int],
    kept: int | None = None,
    unit: str = "tokens",
) -> str:
    """Write report.html into a training's directory and return its URI. Raises StorageError.

    Args:
        records: the metrics log. Of steps: step, epoch, loss, learning_rate, seconds and cost (under the unit's name);
            of evaluations: step, split, metrics.
        evaluated: of the model that was kept: split -> {metrics, details, worst} as in raygen.train.families.base.Evaluated, and
            perhaps `baselines`: name -> {metrics} on the test split (on validation, if there is none). Details that
            are shown: labels, confusion, support, calibration; temperature, and `uncalibrated`: {ece, calibration}.
        counts: of the rows, as preparation counted them.
        kept: the step whose weights the model has.
        unit: what the records count a step's cost in.
    """
    html = render_train_report(store.uri, name, recipe, records, evaluated, counts, kept, unit)
    store.put(REPORT_KEY, html.encode())
    return store.uri_of(REPORT_KEY)


def render_train_report(
    uri: str,
    name: str,
    recipe: dict[str, Any],
    records: Sequence[dict[str, Any]],
    evaluated: dict[str, dict[str, Any]],
    counts: Mapping[str, int],
    kept: int | None = None,
    unit: str = "tokens",
) -> str:
    """Return the report as one HTML document that loads nothing from anywhere. See `write_train_report`."""
    from markupsafe import Markup

    from raygen.version import __version__

    curves = Curves.of(records, unit)
    metric = str((recipe.get("evaluation") or {}).get("metric", "loss"))
    splits = [split for split in SPLITS if split in evaluated]
    results = [{"split": split, **_classes(evaluated[split])} for split in splits]
    cards, left_out = _cards(evaluated[splits[0]].get("worst") or []) if splits else ([], 0)
    return page_environment().get_template("train_report.html.j2").render(
        version=__version__,
        name=name,
        uri=uri,
        base=recipe.get("base", ""),
        finished=bool(splits),
        verdict=" ".join([verdict(evaluated, curves), *_beaten(evaluated, splits, metric)]),
        figures=_figures(curves, metric, records, kept),
        notes=_notes(curves),
        curves=Markup(training_curves(curves, metric)),
        splits=splits,
        metrics=_metrics(evaluated, splits),
        baselines=_baselines(evaluated, splits),
        results=[result for result in results if result["classes"]],
        calibrations=[each for split in splits if (each := _calibration(split, evaluated[split]))],
        cards=cards,
        cards_split=splits[0] if splits else "",
        left_out=left_out,
        counts=[(COUNTS.get(key, key.replace("_", " ").capitalize()), n) for key, n in counts.items()],
        recipe=display.cut(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), LISTING_CHARS),
    )  # fmt: skip


def verdict(evaluated: Mapping[str, dict[str, Any]], curves: Curves) -> str:
    """Say in one sentence how good the model is, on the split that says most."""
    for split in SPLITS:
        found = (evaluated.get(split) or {}).get("metrics") or {}
        if "accuracy" in found:
            rows = sum(((evaluated[split].get("details") or {}).get("support") or {}).values())
            of = display.count(rows, "example") if rows else "the examples"
            right = value_of(found, "accuracy")
            share = "an unknown share" if math.isnan(right) else display.share(right, 1)
            f1 = f"; macro-F1 {_figure(value_of(found, 'macro_f1'))}" if "macro_f1" in found else ""
            return f"On the {split} split, {share} of {of} are right{f1}."
        if "loss" in found:
            perplexity = (
                f", perplexity {_figure(value_of(found, 'perplexity'))}" if "perplexity" in found else ""
            )
            return f"On the {split} split, the loss is {_figure(value_of(found, 'loss'))}{perplexity}."
    if not curves.loss:
        return "Nothing has been trained yet."
    return f"Trained for {display.count(int(curves.loss[-1][0]), 'step')}; the final evaluation is missing."


def _figure(value: float) -> str:
    return "not a number" if math.isnan(value) else f"{value:.4g}" if abs(value) < 1e6 else f"{value:.3e}"


def _beaten(evaluated: Mapping[str, dict[str, Any]], splits: Sequence[str], metric: str) -> list[str]:
    """Say which baseline does better than this model, by the metric that decides or by one that the verdict names."""
    own = (evaluated[splits[0]].get("metrics") or {}) if splits else {}
    said = []
    for name in dict.fromkeys((metric, "macro_f1", "accuracy")):
        sign = -1 if name in LOWER else 1
        rivals = {
            baseline: value
            for baseline, found in (evaluated.get("baselines") or {}).items()
            if sign * (value := value_of(found.get("metrics") or {}, name)) > sign * value_of(own, name)
        }
        if rivals:
            best = max(rivals, key=lambda baseline: sign * rivals[baseline])
            said.append(
                f"{_spelled(name)} is {_figure(rivals[best])} of {display.cut(best, 100)}, "
                f"{_figure(value_of(own, name))} of this model"
            )
    return [f"A baseline does better: {'; '.join(said)}."] if said else []


def _spelled(metric: str) -> str:
    return display.cut(metric.replace("_", " "), 100)


def _figures(
    curves: Curves, metric: str, records: Sequence[dict[str, Any]], kept: int | None
) -> list[tuple[str, str, str]]:
    """Key figures: label, value, a remark."""
    known = [(cost, s) for _, cost, s in curves.speed if s > 0 and not math.isnan(cost)]
    cost, seconds = sum(cost for cost, _ in known), sum(s for _, s in known)
    units = curves.unit.capitalize()
    losses = [value for _, value in curves.loss[-LAST_STEPS:] if not math.isnan(value)]
    epochs = [value for record in records if not math.isnan(value := value_of(record, "epoch"))]
    evaluations = [each for each in curves.validation.get(metric, []) if not math.isnan(each[1])]
    figures = [
        (
            "Steps",
            display.number(curves.loss[-1][0]) if curves.loss else "0",
            f"in {display.count(int(max(epochs)) + 1, 'epoch')}" if epochs else "",
        ),
        ("Time in steps", display.duration(seconds), "evaluations and pauses left out"),
        (units, display.number(cost), "padding included"),
        (f"{units} a second", display.number(cost / seconds) if seconds else "–", "in steps"),
        ("Training loss", _figure(sum(losses) / len(losses)) if losses else "–", f"last {LAST_STEPS} steps"),
    ]
    if evaluations:
        (_, first), (_, last) = evaluations[0], evaluations[-1]
        # The model is that of the best step, often not of the last one. A training that is not finished has none yet.
        shown, remark = last, f"{_figure(first)} at first"
        if kept is not None and kept in (by_step := dict(evaluations)):
            shown = by_step[kept]
            remark = f"at step {display.number(kept)}, which was kept; {remark}, {_figure(last)} at last"
        figures.append((f"Validation {_spelled(metric)}", _figure(shown), remark))
    return figures


def _notes(curves: Curves) -> list[str]:
    missing = sum(math.isnan(value) for _, value in curves.loss)
    if not missing:
        return []
    return [f"The loss of {display.count(missing, 'step')} is not a number: the curves have gaps there."]


def _metrics(evaluated: Mapping[str, dict[str, Any]], splits: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Metrics that are not of one class, each with its value on every split."""
    found = [evaluated[split].get("metrics") or {} for split in splits]
    names = list(dict.fromkeys(name for metrics in found for name in metrics))
    labels = {
        label for split in splits for label in (evaluated[split].get("details") or {}).get("labels") or ()
    }
    per_class = {f"{kind}_{label}" for kind in PER_CLASS for label in labels}
    return [
        (
            display.cut(name.replace("_", " "), 100),
            [_figure(value_of(metrics, name)) if name in metrics else "–" for metrics in found],
        )
        for name in names
        if name not in per_class
    ]


def _baselines(
    evaluated: Mapping[str, dict[str, Any]], splits: Sequence[str]
) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Names of metrics, then this model's and each baseline's values; nothing if there are no baselines."""
    baselines = evaluated.get("baselines") or {}
    if not baselines or not splits:
        return [], []
    rows = {"This model": evaluated[splits[0]].get("metrics") or {}}
    rows |= {display.cut(name, 100): found.get("metrics") or {} for name, found in baselines.items()}
    names = [name for name in HEADLINES if all(name in metrics for metrics in rows.values())]
    values = [
        (name, [_figure(value_of(metrics, column)) for column in names]) for name, metrics in rows.items()
    ]
    return [name.replace("_", " ") for name in names], values


def _classes(result: dict[str, Any]) -> dict[str, Any]:
    """Return a classifier's table and confusion matrix; the rarest of many labels are one in the matrix, and not in the table."""
    details, metrics = result.get("details") or {}, result.get("metrics") or {}
    labels, confusion = details.get("labels") or [], details.get("confusion") or []
    if not labels or len(confusion) != len(labels):
        return {"classes": [], "names": [], "matrix": [], "not_shown": 0}
    support = [sum(row) for row in confusion]
    ranked = sorted(range(len(labels)), key=lambda c: -support[c])
    kept = sorted(ranked if len(labels) <= LABELS else ranked[: LABELS - 1])
    rest = [c for c in range(len(labels)) if c not in set(kept)]
    groups = [[c] for c in kept] + ([rest] if rest else [])
    names = [display.cut(str(labels[c]), LABEL_CHARS) for c in kept]
    names += [f"{len(rest)} others"] if rest else []
    matrix = []
    for name, truths in zip(names, groups, strict=True):
        cells = [sum(confusion[t][p] for t in truths for p in group) for group in groups]
        total = sum(cells)
        shades = [round(100 * SHADE * n / total) if total else 0 for n in cells]
        shares = [display.share(n, total) for n in cells]
        matrix.append((name, list(zip(cells, shares, shades, strict=True)), total))
    classes = [
        (
            display.cut(str(labels[c]), LABEL_CHARS),
            [_figure(value_of(metrics, f"{kind}_{labels[c]}")) for kind in PER_CLASS],
            support[c],
        )
        for c in kept
    ]
    return {"classes": classes, "names": names, "matrix": matrix, "not_shown": len(rest)}


def _calibration(split: str, result: dict[str, Any]) -> dict[str, Any] | None:
    from markupsafe import Markup

    details = result.get("details") or {}
    bins, before = details.get("calibration"), details.get("uncalibrated") or {}
    if not bins or not sum(bins["count"]):
        return None
    return {
        "split": split,
        "plot": Markup(reliability(bins, before.get("calibration"), split)),
        "ece": _figure(value_of(result.get("metrics") or {}, "ece")),
        "before": _figure(value_of(before, "ece")) if before else None,
        "temperature": _figure(value_of(details, "temperature")) if details.get("temperature") else None,
    }


def _cards(worst: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Examples as cards, as many as fit the page's budget, and how many were left out."""
    from markupsafe import escape

    cards: list[dict[str, Any]] = []
    used = 0
    for example in worst[:WORST]:
        fields = [
            (display.cut(str(key).replace("_", " "), 100), fold(value if value is not None else "–"))
            for key, value in example.items()
            if key not in ("row_id", "loss")
        ]
        shown = "".join(text.whole + (text.preview or "") for _, text in fields[:FIELDS])
        used += len(escape(display.visible(shown)).encode()) + 1000
        if cards and used > CARD_BYTES:
            break
        cards.append(
            {
                "row_id": display.cut(str(example.get("row_id", "")), 200),
                "loss": _figure(value_of(example, "loss")),
                "fields": fields[:FIELDS],
            }
        )
    return cards, len(worst) - len(cards)
