"""The report of a self-improvement: accuracy by round beside the base's, what was kept, and some solutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raygen.reports.page import page_environment

BASE, BASE_SHOWN = "Base", "Base, with solved examples in its prompt"


def render_page(record: Mapping[str, Any], uri: str, examples: Sequence[Mapping[str, Any]]) -> str:
    """Return the page, which needs no other file.

    Args:
        record: what report.json holds.
        examples: problems with `problem`, `answer`, and `solutions`: (model, its text, is it exact).
    """
    from raygen.version import __version__

    base, rounds = record["base"], record["rounds"]
    scores = [(BASE, base["plain"]), (BASE_SHOWN, base["with_examples"])]
    scores += [(f"Round {each['number']}", each["score"]) for each in rounds]
    return page_environment().get_template("self_improve.html.j2").render(
        course=record["course"], uri=uri, rounds=rounds, scores=scores, examples=examples,
        all_steps=list(base["plain"]["by_steps"]), verdict=_verdict(record), version=__version__,
    )  # fmt: skip


def _verdict(record: Mapping[str, Any]) -> str:
    last, gain = record["rounds"][-1], record["gain_points"]
    return (
        f"{100 * last['score']['accuracy']:.1f}% of the held-out problems exact after round {last['number']}, "
        f"{abs(gain):.1f} points {'above' if gain >= 0 else 'below'} the base's {100 * record['base_accuracy']:.1f}%."
    )
