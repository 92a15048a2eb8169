"""The terminal: messages a line each, progress as a panel that is redrawn in place or as a line every ten seconds.

Everything here goes to standard error: standard output is for what a command was asked for. raygen's messages are log records
(messages.py); `show_messages` makes the terminal one of their handlers.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from raygen.formatting import visible
from raygen.messages import LOGGER

if TYPE_CHECKING:
    from rich.console import RenderableType

LINE_S = 10.0
BAR_CHARS = 60
Shown = TypeVar("Shown")
Shown_contra = TypeVar("Shown_contra", contravariant=True)


class Display(Protocol[Shown_contra]):
    """Where progress is shown, every tick, and lines beside it."""

    def update(self, progress: Shown_contra) -> None:
        """Show how far it is."""

    def say(self, line: str) -> None:
        """Show a line that stays."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class MessageHandler(logging.Handler):
    """Writes messages to standard error, a line each, with control characters written out.

    Lines of the logger `raygen` itself stand as they are; those of a module's logger begin with `raygen: `.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record's line."""
        try:
            sender = "" if record.name == LOGGER.name else "raygen: "
            print(visible(sender + record.getMessage()), file=sys.stderr, flush=True)
        except Exception:  # noqa: BLE001 - as every handler of `logging` does it
            self.handleError(record)


def show_messages() -> None:
    """Show raygen's messages on the terminal, from level INFO on. Calling it again changes nothing."""
    if not any(isinstance(handler, MessageHandler) for handler in LOGGER.handlers):
        LOGGER.addHandler(MessageHandler())
    LOGGER.setLevel(logging.INFO)


class LineDisplay(Generic[Shown]):
    """A line every ten seconds, for logs.

    Args:
        line: puts into words what is shown.
    """

    def __init__(self, line: Callable[[Shown], str]) -> None:
        self._line = line
        self._shown_s = time.monotonic()

    def update(self, progress: Shown) -> None:
        """Print a line, unless one was printed within the last ten seconds."""
        if time.monotonic() - self._shown_s >= LINE_S:
            self._shown_s = time.monotonic()
            self.say(self._line(progress))

    def say(self, line: str) -> None:
        """Print a line at once."""
        print(visible(line), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Do nothing: every line is finished."""


class LiveDisplay(Generic[Shown]):
    """A panel that is redrawn in place.

    Args:
        panel: makes of what is shown something that rich can draw.
    """

    def __init__(self, panel: Callable[[Shown], RenderableType]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._panel = panel
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._started = False

    def update(self, progress: Shown) -> None:
        """Redraw the panel."""
        if not self._started:
            self._live.start()
            self._started = True
        self._live.update(self._panel(progress))

    def say(self, line: str) -> None:
        """Print a line above the panel."""
        self._console.print(visible(line), markup=False, highlight=False)

    def close(self) -> None:
        """Remove the panel."""
        if self._started:
            self._live.stop()


def fitting_display(
    line: Callable[[Shown], str], panel: Callable[[Shown], RenderableType], quiet: bool = False
) -> Display[Shown] | None:
    """Return the display that fits standard error; None when nothing is to be shown."""
    if quiet:
        return None
    return LiveDisplay(panel) if sys.stderr.isatty() else LineDisplay(line)


def progress_panel(
    title: str, done: float, total: float, *below: RenderableType, warnings: Iterable[str] = ()
) -> RenderableType:
    """Return a panel for a LiveDisplay: a title, warnings, a bar, and what stands below it."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    return Group(
        Text(title, style="bold"),
        *(Text(line, style="bold yellow") for line in warnings),
        ProgressBar(total=max(1, total), completed=done, width=BAR_CHARS),
        *below,
    )
