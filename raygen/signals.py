"""Signals: Ctrl-C and SIGTERM, caught for as long as a run or a training needs them to end cleanly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any


def on_main_thread() -> bool:
    """Return whether this thread can catch signals."""
    return threading.current_thread() is threading.main_thread()


def catch_signals(caught: Callable[[], None]) -> Callable[[], None]:
    """Call `caught` for every SIGINT and SIGTERM; it may raise, in the main thread.

    Returns:
        A function that gives the signals back to those who had them. On other threads nothing is caught.
    """
    if not on_main_thread():
        return lambda: None

    def handle(number: int, frame: Any) -> None:
        caught()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}

    def release() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return release
