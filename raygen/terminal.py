"""The terminal: progress as a panel that is redrawn in place, or a line every ten seconds. Always on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from rich.console import RenderableType

LINE_S = 10.0
Shown = TypeVar("Shown")


def duration(seconds: float | None) -> str:
    """`1h 02m`, `3m 20s`, `12s`."""
    if seconds is None or seconds != seconds or seconds > 1e8:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


def visible(text: str) -> str:
    """Write control characters out: those of a model, an endpoint or an input must not steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


class LineDisplay(Generic[Shown]):
    """A line every ten seconds, for logs. `line` puts into words what is shown."""

    def __init__(self, line: Callable[[Shown], str]) -> None:
        self._line = line
        self._shown_s = time.monotonic()

    def update(self, progress: Shown) -> None:
        if time.monotonic() - self._shown_s >= LINE_S:
            self._shown_s = time.monotonic()
            self.say(self._line(progress))

    def say(self, line: str) -> None:
        print(visible(line), file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class LiveDisplay(Generic[Shown]):
    """A panel that is redrawn in place. `panel` makes of what is shown something that rich can draw."""

    def __init__(self, panel: Callable[[Shown], RenderableType]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._panel = panel
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._started = False

    def update(self, progress: Shown) -> None:
        if not self._started:
            self._live.start()
            self._started = True
        self._live.update(self._panel(progress))

    def say(self, line: str) -> None:
        self._console.print(visible(line), markup=False, highlight=False)

    def close(self) -> None:
        if self._started:
            self._live.stop()


def fitting_display(
    line: Callable[[Shown], str], panel: Callable[[Shown], RenderableType], quiet: bool = False
) -> LineDisplay[Shown] | LiveDisplay[Shown] | None:
    """Return what fits standard error; None when nothing is to be shown."""
    if quiet:
        return None
    return LiveDisplay(panel) if sys.stderr.isatty() else LineDisplay(line)
