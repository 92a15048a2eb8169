"""The plots of a run's report, as inline SVG: failures, throughput, lengths. How they are drawn: sheet.py."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from raygen.formatting import count, duration, number, share, visible
from raygen.reports.plots.timeline import Timeline, between_posts
from raygen.reports.sheet import (
    ACCENT,
    ACCEPTED,
    FAILED,
    INK,
    LINE,
    MUTED,
    PAUSE,
    REJECTED,
    SECOND,
    WIDE_PX,
    Sheet,
    both,
)

TIME_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
COARSE = 20  # bins that a curve has at least, where a page has room for them


def pareto(kinds: Sequence[tuple[str, int]]) -> str:
    """Bars of how many rows failed of each cause, most first, and their cumulative share.

    Args:
        kinds: label and number of rows of at least one cause; all beyond the tenth are drawn as one bar.
    """
    ranked = [(visible(name), n) for name, n in sorted(kinds, key=lambda kind: -kind[1])]
    if len(ranked) > 10:
        rest = ranked[9:]
        ranked = [*ranked[:9], (f"{len(rest)} other causes", sum(n for _, n in rest))]
    total = sum(n for _, n in ranked)
    shares = [100 * n / total for _, n in ranked]
    cumulative = list(itertools.accumulate(shares))
    label = "Failed rows by cause: " + ", ".join(
        f"{name} {number(n)} ({share(n, total)})" for name, n in ranked
    )

    def draw(width: int) -> str:
        letters = 32 if width == WIDE_PX else 18
        sheet = Sheet(
            width, 44 + 42 * len(ranked), left=250 if width == WIDE_PX else 142, right=20, top=8, bottom=36
        )
        axes = sheet.axes(1)[0]
        spots = range(len(ranked))
        axes.barh(spots, shares, height=0.55, color=FAILED)
        if len(ranked) > 1:
            axes.plot(cumulative, spots, color=INK, linewidth=1.4, marker="o", markersize=5)
        for spot, (name, n) in zip(spots, ranked, strict=True):
            _named(axes, spot, name, f"{number(n)} · {share(n, total)}", letters)
        axes.set(xlim=(0, 103), ylim=(len(ranked) - 0.4, -0.6), yticks=[], xticks=[0, 25, 50, 75, 100])
        axes.set_xlabel("% of failed rows" + ("; line: cumulative" if len(ranked) > 1 else ""))
        axes.xaxis.set_major_formatter("{x:.0f}%")
        axes.grid(axis="x", color=LINE)
        return sheet.svg(f"pareto{width}", label)

    return both(draw)


def _named(axes: Any, spot: int, name: str, about: str, letters: int) -> None:
    """Write a bar's name and a remark at its left."""
    short = _plain(name, letters)
    at = {"xy": (0, spot), "xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate(short, xytext=(-10, 2), ha="right", va="bottom", color=INK, parse_math=False, **at)
    axes.annotate(about, xytext=(-10, -3), ha="right", va="top", color=MUTED, **at)


def _plain(name: str, letters: int) -> str:
    """Return a name fit for a picture. A code is a plain word; anything else is escaped: fonts lack most scripts."""
    plain = name.encode("ascii", "backslashreplace").decode()
    return plain if len(plain) <= letters else plain[: letters - 1] + "…"


def steps(counts: Sequence[tuple[str, int, int, int]]) -> str:
    """Bars of what became of the samples that came to each step: passed, rejected, not selected.

    Args:
        counts: name, and samples of each fate, of at least one step; at least one sample in all.
    """
    named = [(visible(name), passed, rejected, dropped) for name, passed, rejected, dropped in counts]
    label = "Samples by step: " + ", ".join(
        f"{name} {number(passed)} of {number(passed + rejected + dropped)} passed"
        for name, passed, rejected, dropped in named
    )

    def draw(width: int) -> str:
        wide = width == WIDE_PX
        sheet = Sheet(width, 62 + 42 * len(named), left=250 if wide else 142, right=20, top=28, bottom=36)
        axes = sheet.axes(1)[0]
        spots = range(len(named))
        kinds = (("passed", ACCEPTED), ("rejected", REJECTED), ("not selected", PAUSE))
        begun = [0] * len(named)
        fates = list(
            zip(*((passed, rejected, dropped) for _, passed, rejected, dropped in named), strict=True)
        )
        for sizes, (kind, color) in zip(fates, kinds, strict=True):
            if any(sizes):
                axes.barh(spots, sizes, left=begun, height=0.55, color=color, label=kind)
            begun = [start + size for start, size in zip(begun, sizes, strict=True)]
        for spot, (name, passed, rejected, dropped) in zip(spots, named, strict=True):
            taken = passed + rejected + dropped
            _named(axes, spot, name, f"{number(passed)} of {number(taken)}", 32 if wide else 18)
        axes.set(xlim=(0, max(begun) * 1.02), ylim=(len(named) - 0.4, -0.6), yticks=[])
        axes.set_xlabel("samples")
        axes.xaxis.set_major_locator(sheet.ticks(8 if wide else 4, whole=True))
        axes.xaxis.set_major_formatter(lambda x, _: number(x))
        axes.grid(axis="x", color=LINE)
        # On a narrow page it begins at the left edge of the picture, below which names stand.
        place: dict[str, Any] = {
            "loc": "lower left",
            "bbox_to_anchor": (0 if wide else -0.75, 1),
            "ncols": 3,
            "frameon": False,
        }
        axes.legend(
            labelcolor=MUTED, fontsize=12, borderaxespad=0, handlelength=1, columnspacing=1.5, **place
        )
        return sheet.svg(f"steps{width}", label)

    return both(draw)


def throughput(timeline: Timeline, rate: str = "output tokens/s") -> str:
    """Draw rows/s, what was made a second and occupancy over the time the run was running; pauses are narrow bands.

    Args:
        timeline: with at least one part.
        rate: the name of the second curve.
    """
    parts = timeline.parts
    ran_s = timeline.running_s
    rate = visible(rate)
    rows = sum(part[-1][1] - part[0][1] for part in parts)
    made = sum(part[-1][2] - part[0][2] for part in parts)
    label = f"Throughput over {duration(ran_s)}: "
    label += f"{number(rows / ran_s)} rows/s, {number(made / ran_s)} {rate}"
    if timeline.pauses:
        label += f", {len(timeline.pauses)} pauses of {duration(sum(timeline.pauses))} in all"

    def draw(width: int) -> str:
        import numpy as np

        wide = width == WIDE_PX
        bins = 150 if wide else 70
        pause = (
            min(0.05 if wide else 0.09, 0.4 / max(1, len(timeline.pauses))) * ran_s
        )  # a pause's width on the axis
        sheet = Sheet(width, 470, left=56 if wide else 46, right=14, top=26, bottom=38)
        panels = sheet.axes(3, heights=(3, 3, 2))
        titles = ("rows/s", _plain(rate, 32), "engine slots in use")
        for panel, title, column, color in zip(
            panels, titles, (1, 2, 3), (ACCENT, SECOND, MUTED), strict=True
        ):
            before = 0.0
            for number_, part in enumerate(parts):
                t = np.array([p[0] for p in part])
                level = np.array([p[column] for p in part], float)
                most = bins * (t[-1] - t[0]) / ran_s
                if column == 3:  # its area, so that a bin gets the mean over its time
                    steps = np.diff(t) * (level[1:] + level[:-1]) / 2
                    level = np.concatenate([[0], np.cumsum(100 * steps)])
                else:
                    t, level, post_s = between_posts(t, level)
                    most = min(most, max(COARSE, (t[-1] - t[0]) / (2 * post_s)))
                edges = np.linspace(t[0], t[-1], 1 + max(1, round(most)))
                speed = np.diff(np.interp(edges, t, level)) / np.diff(edges)
                place = edges - t[0] + before + number_ * pause
                panel.stairs(speed, place, fill=True, color=color, alpha=0.18)
                panel.stairs(speed, place, baseline=None, color=color, linewidth=1.4)
                before += t[-1] - t[0]
            panel.set_title(title, loc="left", color=INK, parse_math=False)
            panel.set_ylim(0, 100 if column == 3 else None)
            panel.yaxis.set_major_locator(sheet.ticks([0, 50, 100] if column == 3 else 4))
            panel.yaxis.set_major_formatter(lambda y, _, unit="%" * (column == 3): number(round(y, 6)) + unit)
            panel.grid(axis="y", color=LINE)
        ends = [0.0, *itertools.accumulate(part[-1][0] - part[0][0] for part in parts)]
        for number_, length_s in enumerate(timeline.pauses):
            left = ends[number_ + 1] + number_ * pause
            for panel in panels:
                panel.axvspan(left, left + pause, color=PAUSE, linewidth=0)
            if len(timeline.pauses) <= (12 if wide else 4):
                spot = {
                    "transform": panels[0].get_xaxis_transform(),
                    "rotation": 90,
                    "ha": "center",
                    "va": "center",
                }
                panels[0].text(left + pause / 2, 0.5, f"paused {duration(length_s)}", color=MUTED, **spot)
        step = next(
            (s for s in TIME_STEPS_S if ran_s / s <= (8 if wide else 4)), 86400 * round(ran_s / 86400 / 3 + 1)
        )
        ticks = np.arange(0, ran_s + 1e-9, step if ran_s >= 2 else ran_s)
        after = [sum(end < tick for end in ends[1:]) for tick in ticks]  # pauses before the tick
        panels[-1].set_xticks(ticks + pause * np.array(after), [duration(t) if t else "0" for t in ticks])
        panels[-1].set_xlim(0, ran_s + pause * len(timeline.pauses))
        panels[-1].set_xlabel("time running" + (", pauses shortened" if timeline.pauses else ""))
        return sheet.svg(f"throughput{width}", label)

    return both(draw)


def lengths(tokens: Sequence[int], limit: int | None) -> str:
    """Draw a histogram of output lengths; `limit`, if given, is where generation was cut.

    Args:
        tokens: the length of each sample in tokens, at least one.
    """
    import numpy as np

    low, high = min(tokens), max(tokens)
    width_tokens = -(-(high - low + 1) // 40)  # whole tokens a bar, at most 40 bars
    bars = -(-(high - low + 1) // width_tokens)
    # The last bar ends where the longest sample does, so that a limit is a bar's edge.
    edges = high + 0.5 - width_tokens * np.arange(bars, -1, -1)
    median = float(np.median(tokens))
    label = f"Output lengths of {count(len(tokens), 'sample')}: "
    label += f"{number(low)} to {number(high)} tokens, median {number(median)}"

    def draw(width: int) -> str:
        sheet = Sheet(width, 260, left=56 if width == WIDE_PX else 46, right=14, top=26, bottom=38)
        axes = sheet.axes(1)[0]
        axes.hist(tokens, bins=edges, color=ACCENT, rwidth=0.9)
        if limit is not None:
            axes.axvline(limit + 0.5, color=FAILED, linewidth=1.4, linestyle=(0, (4, 3)))
            spot = {"transform": axes.get_xaxis_transform(), "ha": "right", "va": "bottom"}
            axes.text(limit + 0.5, 1.02, f"length limit {number(limit)}", color=FAILED, **spot)
        axes.set_title("samples", loc="left", color=INK)
        pad = max(1.0, 0.02 * (edges[-1] - edges[0]))
        axes.set_xlim(edges[0] - pad, edges[-1] + pad)
        axes.set_xlabel("output tokens")
        for axis, most in ((axes.xaxis, 8 if width == WIDE_PX else 4), (axes.yaxis, 4)):
            axis.set_major_locator(sheet.ticks(most, whole=True))
            axis.set_major_formatter(lambda x, _: number(x))
        axes.grid(axis="y", color=LINE)
        return sheet.svg(f"lengths{width}", label)

    return both(draw)
