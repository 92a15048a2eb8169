"""The watch: follows a training from the driver. It reads the board, keeps the log, shows progress, and hears Ctrl-C."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from raygen.errors import StorageError
from raygen.signals import catch_signals
from raygen.storage import Store
from raygen.terminal import Display
from raygen.train.driver.events import Events
from raygen.train.driver.progress import TrainProgress
from raygen.train.loop.records import MetricsLog, is_evaluation, number, validations
from raygen.train.recipe import Recipe

GRACE_S = 60.0  # after the first Ctrl-C, the workers have this long to write a checkpoint
RECENT_S = 600.0  # that the pace of steps is the mean of, with the evaluations between them
SMOOTHED = 20  # steps that the shown loss and speed are the means of


class Watch:
    """One session of one driver.

    Args:
        total: steps of the whole training.
        higher: is more of recipe.evaluation.metric better?
        validates: is there a validation split?
        listen: is told every evaluation on the validation split.
    """

    def __init__(
        self,
        recipe: Recipe,
        store: Store,
        total: int,
        higher: bool,
        display: Display[TrainProgress] | None = None,
        listen: Callable[[dict[str, Any]], None] | None = None,
        *,
        validates: bool = True,
    ) -> None:
        self._recipe = recipe
        self._total = total
        self._higher = higher
        self._display = display
        self._validates = validates
        self._log = MetricsLog(store)
        self._unit = recipe.batch.unit
        self._events = Events(store, self._log.records, unit=self._unit)
        self._listen = listen
        self._tell(self._log.records)
        self._board: Any = None
        self._next = 0
        self._step = 0  # the last one that this session computed
        self._workers = 0
        self._memory: int | None = None
        self._losses: deque[float] = deque(maxlen=SMOOTHED)
        self._recent: deque[tuple[float, int]] = deque()  # (monotonic s, step)
        self._speed: deque[tuple[int, float]] = deque(maxlen=SMOOTHED)  # (cost, seconds) of a step
        self._began_s = time.monotonic()
        self._stopped_s: float | None = None
        self._abandoned = False

    @property
    def records(self) -> list[dict[str, Any]]:
        return self._log.records

    @property
    def stopping(self) -> bool:
        return self._stopped_s is not None

    @contextlib.contextmanager
    def session(self, board: Any) -> Iterator[None]:
        """Watch for the length of a `with`; whatever ends it, what the workers said is kept."""
        self._board = board
        release = catch_signals(self._interrupted)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # Ray may be gone
                self._read()
            release()
            if self._display:
                self._display.close()
            self._log.close()
            self._events.close()

    def tick(self, restarts: int) -> int:
        """Take in what is new and show it. Returns the last step that was computed."""
        self._read()
        with contextlib.suppress(StorageError):  # the next tick tries again; the last one says so
            self._log.flush()
            self._events.upload()
        if self._display:
            self._display.update(self._progress(restarts))
        return self._step

    def left(self) -> bool:
        """Return whether to leave the workers after Ctrl-C: at once if they have computed no step."""
        return self._stopped_s is not None and (
            self._abandoned or not self._step or time.monotonic() - self._stopped_s > GRACE_S
        )

    def _read(self) -> None:
        import ray

        records, self._next = ray.get(self._board.read.remote(self._next, self.stopping))
        self._log.add(records)
        self._events.add(records)
        self._tell(records)
        for record in records:
            if is_evaluation(record):
                continue
            self._step = record["step"]
            self._speed.append((record[self._unit], record["seconds"]))
            self._losses.append(record["loss"])
            self._workers = record.get("workers", self._workers)
            self._memory = record.get("memory_bytes", self._memory)
        now_s = time.monotonic()
        if self._step:  # start-up is no step
            self._recent.append((now_s, self._step))
        while self._recent and now_s - self._recent[0][0] > RECENT_S and len(self._recent) > 2:
            self._recent.popleft()

    def _tell(self, records: Iterable[dict[str, Any]]) -> None:
        if self._listen:
            for record in validations(records):
                self._listen(record)

    def _progress(self, restarts: int) -> TrainProgress:
        now_s = time.monotonic()
        (first_s, first_step), (last_s, step) = (
            (self._recent[0], self._recent[-1]) if self._recent else ((now_s, 0),) * 2
        )
        span_s = last_s - first_s
        seconds = sum(s for _, s in self._speed)
        last: dict[str, Any] = next((each for each in reversed(self.records) if not is_evaluation(each)), {})
        metric = self._recipe.evaluation.metric
        measured = [each["metrics"] for each in validations(self.records)]
        values = [value for found in measured if (value := number(found, metric)) is not None]
        pace = (step - first_step) / span_s if span_s > 0 else 0.0
        running = "training" if self._step else "starting workers"
        return TrainProgress(
            name=self._recipe.name,
            phase="stopping" if self.stopping else running,
            done=self._step or last.get("step", 0),
            total=self._total,
            workers=self._workers,
            epoch=last.get("epoch", 0),
            loss=sum(self._losses) / len(self._losses) if self._losses else None,
            speed=sum(cost for cost, _ in self._speed) / seconds if seconds else None,
            unit=self._unit,
            learning_rate=last.get("learning_rate"),
            validation=measured[-1] if measured else {},
            metric=metric,
            best=(max if self._higher else min)(values) if values else None,
            eta_s=(self._total - step) / pace if pace > 0 else None,
            elapsed_s=now_s - self._began_s,
            memory_bytes=self._memory,
            restarts=restarts,
            evaluating=self._evaluates(),
        )

    def _evaluates(self) -> bool:
        """Return whether the workers evaluate: it follows a step unannounced; after the last step the kept model is measured."""
        if not self._step or (is_evaluation(self.records[-1]) and self._step < self._total):
            return False
        return self._step == self._total or (
            self._validates and self._step % self._recipe.evaluation.every_steps == 0
        )

    def _interrupted(self) -> None:
        """Stop at the first signal; leave the workers at the second."""
        if self.stopping:
            self._abandoned = True
            return
        self._stopped_s = time.monotonic()
        if self._display:
            self._display.say(
                "interrupted: writing a checkpoint (Ctrl-C again leaves it at the last one)"
                if self._step
                else "interrupted before a step was computed"
            )
