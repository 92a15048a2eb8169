"""Sheet: an empty picture, and how it becomes inline SVG that takes fonts and colours from the page around it.

matplotlib draws with placeholder colours; `Sheet.svg` swaps them for the page's CSS variables, so that one
picture serves light and dark. Each plot comes twice, for a wide and for a narrow page: text keeps its size.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Sequence
from typing import Any

WIDE_PX, NARROW_PX = 1000, 350
# The page's CSS variables, and the colours that stand for them while matplotlib draws.
INK, MUTED, LINE, ACCENT, SECOND, FAILED, PAUSE, ACCEPTED, REJECTED = (f"#0a0b{i:02x}" for i in range(9))
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    ACCENT: "accent",
    SECOND: "second",
    FAILED: "failed",
    PAUSE: "pause",
    ACCEPTED: "accepted",
    REJECTED: "rejected",
}


def both(draw: Callable[[int], str]) -> str:
    """Return what `draw` makes for a wide page and for a narrow one; CSS shows one of them."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own matplotlib style must not show
        matplotlib.rcParams.update({"svg.fonttype": "none", "font.size": 12})
        return f'<div class="wide">{draw(WIDE_PX)}</div><div class="narrow">{draw(NARROW_PX)}</div>'


class Sheet:
    """An empty picture of so many CSS pixels. One point of matplotlib's is one pixel at 72 dots an inch."""

    def __init__(self, width: int, height: int, *, left: int, right: int, top: int, bottom: int) -> None:
        from matplotlib.figure import Figure  # no pyplot: no global state, no display

        self.size = width, height
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        self.frame = {
            "left": left / width,
            "right": 1 - right / width,
            "top": 1 - top / height,
            "bottom": bottom / height,
        }

    def axes(self, rows: int, heights: Sequence[float] | None = None) -> list[Any]:
        grid = {"height_ratios": heights, "hspace": 0.36, **self.frame}
        panels = list(self.figure.subplots(rows, 1, sharex=True, squeeze=False, gridspec_kw=grid)[:, 0])
        for panel in panels:
            panel.set_facecolor("none")
            panel.set_axisbelow(True)
            for side in ("left", "right", "top"):
                panel.spines[side].set_visible(False)
            panel.spines["bottom"].set_color(LINE)
            panel.tick_params(length=0, pad=6, labelcolor=MUTED, labelsize=12)
            panel.xaxis.label.set(color=MUTED, size=12)
            panel.title.set_size(12)
        return panels

    @staticmethod
    def ticks(at: int | Sequence[float], *, whole: bool = False) -> Any:
        from matplotlib.ticker import FixedLocator, MaxNLocator

        return MaxNLocator(at, integer=whole) if isinstance(at, int) else FixedLocator(at)

    def svg(self, name: str, label: str) -> str:
        """Return the <svg> element. `name` is unique in the page: the ids inside are made from it."""
        import matplotlib

        self.figure.patch.set_alpha(0)
        out = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": name}):
            self.figure.savefig(out, format="svg")
        drawn = out.getvalue()
        body = drawn[drawn.index('<g id="figure_1">') : drawn.rindex("</svg>")]
        body = re.sub(r'<g id="[^"]*"', "<g", body)  # alike in every picture: figure_1, axes_1
        body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
        body = re.sub(r"#0a0b0[0-9]", lambda match: f"var(--{VARIABLES[match[0]]})", body)
        width, height = self.size
        return (
            f'<svg role="img" aria-label="{html.escape(label)}" viewBox="0 0 {width} {height}">{body}</svg>'
        )
