from __future__ import annotations

import re
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest

from raygen.reports.plots import run as plots
from raygen.reports.plots.timeline import Point, Timeline, between_posts


def pictures(html: str) -> list[ElementTree.Element]:
    declared = html.replace("<svg ", '<svg xmlns:xlink="x" ')
    return list(ElementTree.fromstring(f"<both>{declared}</both>").iter("svg"))


def texts(picture: ElementTree.Element) -> list[str]:
    return [t.text or "" for t in picture.iter("text")]


def test_importing_loads_no_plotting_library() -> None:
    code = """if True:
        import sys, raygen.reports.run
        print([name for name in ("matplotlib", "numpy", "jinja2", "PIL") if name in sys.modules])
    """
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded == "[]\n"


@pytest.mark.parametrize(
    "drawn",
    [
        plots.pareto([("timeout", 3), ("broken_json", 1)]),
        plots.throughput(Timeline.of([(1, 1, 10, 0.5), (2, 2, 30, 1.0)], 1)),
        plots.lengths([1, 5, 5], 5),
        plots.steps([("generate", 9, 1, 0), ("select", 2, 0, 7)]),
    ],
    ids=["pareto", "throughput", "lengths", "steps"],
)
def test_each_plot_comes_twice_with_a_label_and_the_pages_own_look(drawn: str) -> None:
    wide, narrow = pictures(drawn)
    assert [p.get("viewBox", "").split()[2] for p in (wide, narrow)] == ["1000", "350"]
    assert all(p.get("role") == "img" and p.get("aria-label") for p in (wide, narrow))
    assert "var(--muted)" in drawn
    assert not re.search(r"font-family|#0a0b0|DejaVu", drawn)  # no placeholder is left, no font is forced
    assert not re.search(r"https?:|<!DOCTYPE|<style|<metadata", drawn)
    ids = re.findall(r'\bid="([^"]*)"', drawn)
    assert len(ids) == len(set(ids))


def test_pareto_ranks_causes_and_adds_their_shares_up() -> None:
    label = pictures(plots.pareto([("rare", 1), ("common", 3)]))[0].get("aria-label")
    assert label == "Failed rows by cause: common 3 (75%), rare 1 (25%)"


def test_pareto_draws_the_tail_as_one_bar() -> None:
    wide = pictures(plots.pareto([(f"code_{i}", 20 - i) for i in range(12)]))[0]
    assert "3 other causes" in texts(wide)
    assert "30 · 17.2%" in texts(wide)  # 11 + 10 + 9 of 174


def test_labels_are_text_whatever_they_hold() -> None:
    hostile = "</text><script>$x_1$\x00é"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of glyphs that it lacks
        wide = pictures(plots.pareto([(hostile, 1)]))[0]
    assert "</text><script>$x_1$\\x00\\xe9" in texts(wide)


def test_steps_say_how_many_samples_passed() -> None:
    wide = pictures(plots.steps([("reply", 9, 1, 0), ("select", 2, 0, 7)]))[0]
    assert wide.get("aria-label") == "Samples by step: reply 9 of 10 passed, select 2 of 9 passed"
    assert {"reply", "9 of 10", "passed", "rejected", "not selected"} <= set(texts(wide))
    assert "not selected" not in texts(pictures(plots.steps([("reply", 9, 1, 0)]))[0])


def test_same_data_same_picture() -> None:
    assert plots.lengths([1, 2, 3], None) == plots.lengths([1, 2, 3], None)


def test_timeline_of_one_session_starts_with_nothing_done() -> None:
    timeline = Timeline.of([(4.0, 8, 80, 0.5)], 1)
    assert timeline.parts == [[(0.0, 0.0, 0.0, 0.5), (4.0, 8, 80, 0.5)]]
    assert timeline.pauses == []
    assert "2 rows/s, 20 output tokens/s" in plots.throughput(timeline)


@pytest.mark.parametrize("points", [[], [(0.0, 0, 0, 0.0)]])
def test_timeline_without_duration_has_no_parts(points: list[Point]) -> None:
    assert Timeline.of(points, 1).parts == []


def test_timeline_is_cut_at_the_longest_intervals() -> None:
    first = [(float(t), t, t, 1.0) for t in range(10)]
    second = [(100.0 + t, 9 + t, 9 + t, 1.0) for t in range(10)]
    timeline = Timeline.of([*second, *first], 2)
    assert timeline.pauses == [91.0]
    assert timeline.running_s == 18.0
    assert "paused 1 min 31 s" in texts(pictures(plots.throughput(timeline))[0])
    assert Timeline.of([*first, *second], 1).pauses == []  # started once: slow, not paused


def test_timeline_is_cut_where_a_total_fell() -> None:
    points = [(1, 10, 100, 1), (2, 20, 200, 1), (3, 12, 120, 1), (4, 24, 240, 1)]
    timeline = Timeline.of(points, 2)
    assert timeline.pauses == [1]
    assert "11 rows/s, 107 output tokens/s" in plots.throughput(
        timeline
    )  # 20 + 12 rows in 3 s, never negative


def test_a_resumed_run_without_a_pause_is_not_cut() -> None:
    uneven = [(t + t % 2 * 0.9, t, t, 1.0) for t in range(1, 20)]
    timeline = Timeline.of(uneven, 3)
    assert len(timeline.parts) == 1
    assert timeline.running_s == 19.9


@pytest.mark.parametrize("ran_s", [0.5, 7, 90, 5400, 200_000, 3_000_000])
def test_time_axis_has_few_labels_at_any_length(ran_s: float) -> None:
    wide, narrow = pictures(plots.throughput(Timeline.of([(ran_s, 10, 10, 1.0)], 1)))
    for picture, most in ((wide, 10), (narrow, 6)):
        named = [t for t in texts(picture) if re.fullmatch(r"0|[\d.]+ (s|min|h|d)( .*)?", t)]
        assert 2 <= len(set(named)) <= most + 1


@pytest.mark.parametrize("every", [2, 7, 20])
def test_a_rate_is_that_between_two_posts_and_a_pause_is_none(every: int) -> None:
    running = [
        *range(60, 400),
        *range(600, 1000),
    ]  # ticks; before these models are loaded, between them nothing comes
    posted, total, points = 0, 0, []
    for tick in range(1000):
        total += 10 * (tick in running)
        posted = total if tick % every == 0 else posted
        points.append((tick / 2, posted))
    t, level, post_s = between_posts(*np.array(points, float).T)
    rates = np.diff(level) / np.diff(t)
    assert post_s == every / 2
    assert sum(np.diff(t)[rates == 0]) == pytest.approx(130, abs=2 * every)
    among = rates[rates > 0]
    assert np.mean(among == 20) > 0.85  # all but those on the edge of a pause
    assert (level[0], level[-1]) == (0, posted)


def test_lengths_show_the_limit_and_whole_tokens() -> None:
    wide = pictures(plots.lengths([3, 10, 64, 64], 64))[0]
    assert "length limit 64" in texts(wide)
    assert wide.get("aria-label") == "Output lengths of 4 samples: 3 to 64 tokens, median 37"
    assert not any("length limit" in t for t in texts(pictures(plots.lengths([3], None))[0]))
