"""Session: one driver's time on a training, told in an object of its own while it lasts. Advisory: nothing is decided by it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from raygen.runs.session import Session
from raygen.runs.status import is_alive
from raygen.storage import Store

BEAT_S = 5.0  # well below runs.session.LOST_S, after which a silent driver is taken for dead
MAX_NOTE = 300  # characters of what ended it


@dataclass
class TrainSession(Session):
    """What one driver of a training did and does.

    Attributes:
        phase: preparing | training.
        step: the last one that it saw; 0 before the first.
        total: steps of the whole training; 0 while it is not known.
    """

    phase: str = "preparing"
    step: int = 0
    total: int = 0

    def begin(self, store: Store, total: int = 0) -> None:
        """Say that all is prepared."""
        self.phase, self.total = "training", total
        self.write(store)


@contextlib.contextmanager
def session(store: Store) -> Iterator[TrainSession]:
    """Tell for the length of a `with` that a driver is at work on the training, and in the end what became of it.

    The caller calls `begin`, sets `step`, and sets `state` to `finished` if the training is.
    """
    current = TrainSession()
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            current.write(store)

    current.write(store)
    thread = threading.Thread(target=beat, name="session", daemon=True)
    thread.start()
    try:
        yield current
    except BaseException as error:
        current.note = " ".join(str(error).split())[:MAX_NOTE] or type(error).__name__
        raise
    finally:
        over.set()
        thread.join()
        if current.state == "running":
            current.state = "interrupted"
        current.write(store)


def at_work(sessions: Sequence[TrainSession]) -> TrainSession | None:
    """Return the newest session whose driver seems to live."""
    return next((each for each in reversed(sessions) if is_alive(each)), None)
