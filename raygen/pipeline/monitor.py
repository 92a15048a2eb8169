"""The monitor: watches a session's execution, shows and saves its progress, and stops it on Ctrl-C or at a budget."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from raygen.config.tolerance import Tolerance
from raygen.engines.figures import usage_of
from raygen.engines.silence import silences
from raygen.errors import InterruptedRunError, RaygenError, StorageError
from raygen.pipeline.budget import Budget
from raygen.pipeline.result import RunResult
from raygen.runs.commit import Commit
from raygen.runs.enough import acceptance, rows_left
from raygen.runs.manifest import Totals
from raygen.runs.outcome import STATUSES
from raygen.runs.pace import Rate, pace_of
from raygen.runs.plan import Plan
from raygen.runs.session import BEAT_S, Session
from raygen.signals import catch_signals, on_main_thread
from raygen.storage import Store
from raygen.terminal import Display
from raygen.usage import Usage

TICK_S = 0.5
BY_SIGNAL = "interrupted"  # what a session notes that a signal stopped
LAST_LOOK_S = 2.0
GRACE_S = 15.0  # after the first Ctrl-C, chunks in flight have this long to end


@dataclass(frozen=True)
class Progress:
    """What a display shows, every tick."""

    name: str
    rows_total: int
    rows: dict[str, int]  # by status, of all sessions, rows of unfinished chunks included
    chunks: tuple[int, int]  # committed, total
    usage: Usage  # of all sessions
    rows_per_s: float | None  # since the engines began, of a long session its later part; None: no rows yet
    made_per_s: float | None  # of the unit that leads in `usage`, over the last minute
    prefill_per_s: float | None  # prompt tokens computed; None: the engines do not say
    occupancy: float | None  # of the engines, 0..1
    replicas: int
    eta_s: float | None
    elapsed_s: float
    stopping: bool
    engine: dict[str, float]


class Execution(Protocol):
    def stop(self) -> None: ...

    def gauges(self) -> dict[str, Any]: ...


class Monitor:
    """One session of one driver."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        display: Display[Progress] | None,
        budget: Budget | None,
        tolerance: Tolerance | None = None,
    ) -> None:
        self._store = store
        self._plan = plan
        self._earlier = Totals()  # of the chunks that other sessions committed, as far as they have been read
        self._mine = Totals()
        self._chunks = 0  # committed
        self._display = display
        self._budget = budget or Budget()
        self._tolerance = tolerance
        self._too_many_failed = False
        self._silent = False  # an endpoint answers nobody: chunks in flight may take very long
        self._handles_signals = False
        self._resumed: tuple[float, int] | None = (
            None  # when the last silence of an endpoint ended, and rows until then
        )
        self._session = Session()
        self._execution: Execution | None = None
        self._made: dict[str, Rate] = {}  # by unit
        self._computed = Rate()  # tokens of prompts
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._stopped_s: float | None = None
        self._began_s = time.monotonic()
        self.stopping = False

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Watch for the length of a `with`; whatever ends it, the session's last state is saved."""
        self._session.write(self._store)
        thread = threading.Thread(target=self._loop, name="monitor", daemon=True)
        self._handles_signals = on_main_thread()
        release = catch_signals(self._interrupted)
        thread.start()
        try:
            yield
        except StorageError as error:
            self._session.note = str(error)
            raise StorageError(f"{error}; run the same command again to resume") from error
        except RaygenError as error:
            self._session.note = str(error)
            raise
        except KeyboardInterrupt:
            raise InterruptedRunError(
                "abandoned the chunks in flight; run the same command again to resume"
            ) from None
        finally:
            self._ended.set()
            release()
            if self._session.state == "running":
                self._session.state = "interrupted"
            self._tick(last=True)
            self._session.write(self._store)
            if self._display:
                self._display.close()

    def watch(self, execution: Execution) -> None:
        with self._lock:
            self._execution = execution
        if self.stopping:
            execution.stop()

    def unwatch(self) -> None:
        with self._lock:
            execution, self._execution = self._execution, None
        if execution is None:
            return

        def look() -> None:
            with contextlib.suppress(Exception):
                self._session.engine = execution.gauges()

        # What happened since the last tick. In a thread: a cluster that is gone may not answer at all.
        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        thread.join(LAST_LOOK_S)

    @property
    def figures(self) -> dict[str, float]:
        """What the engines of this session say of their work, as last read."""
        return dict(self._session.engine)

    def found(self, chunks: int) -> None:
        """Take note of chunks that were committed before this session."""
        self._chunks += chunks

    def loaded(self, commit: Commit) -> None:
        """Take note of an earlier session's commit. Called from another thread."""
        self._earlier.add(commit)

    def committed(self, commit: Commit | None, mine: bool) -> None:
        """Take note of a chunk that is done now; `mine` is False when another attempt was first."""
        self._chunks += 1
        if commit is not None and mine:
            self._session.committed += 1
            self._mine.add(commit)
        else:
            self._session.overtaken += 1

    def finished(self) -> None:
        self._session.state = "finished"
        self._session.note = None  # why it was to stop is of no interest any more

    def interrupted(self) -> RunResult:
        """Return the result of a session that was stopped before the run's end."""
        rows = {s: self._earlier.rows[s] + self._mine.rows[s] for s in STATUSES}
        return RunResult(
            self._store.uri,
            "interrupted",
            {"total": self._plan.rows, **rows},
            self._earlier.usage + self._mine.usage,
            self._session.note,
            None,
            {kind: self._earlier.calls[kind] + self._mine.calls[kind] for kind in self._mine.calls},
            acceptance(self._plan, rows, finished=False),
            self._too_many_failed,
        )

    def stop(self, why: str) -> None:
        """Begin no new chunk; those in flight end."""
        if self.stopping:
            return
        self.stopping = True
        self._session.note = why
        self._stopped_s = time.monotonic()
        limit = f", for up to {GRACE_S:.0f} s" if why == BY_SIGNAL else ""
        if self._display:
            self._display.say(
                f"{why}: finishing the chunks in flight{limit} (Ctrl-C abandons them; nothing committed is lost)"
            )
        with self._lock:
            if self._execution is not None:
                threading.Thread(target=self._execution.stop, daemon=True).start()

    def _interrupted(self) -> None:
        """Stop at the first signal; abandon the chunks in flight at the second."""
        if self.stopping and (self._session.note == BY_SIGNAL or self._silent):
            raise KeyboardInterrupt
        self.stopping = False
        self.stop(BY_SIGNAL)

    def _loop(self) -> None:
        saved_s = time.monotonic()
        while not self._ended.wait(TICK_S):
            with contextlib.suppress(Exception):  # a display must never stop a run
                self._tick()
            if time.monotonic() - saved_s > BEAT_S:
                self._session.write(self._store)
                saved_s = time.monotonic()
            if (
                self._stopped_s is not None
                and (self._session.note == BY_SIGNAL or (self._silent and self._handles_signals))
                and time.monotonic() - self._stopped_s > GRACE_S
                and not self._ended.is_set()
            ):
                # A real signal, for `_thread.interrupt_main` does not wake a thread that waits for a lock.
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return

    def _tick(self, last: bool = False) -> None:
        with self._lock:
            execution = self._execution
        engine = dict(self._session.engine)
        if execution is not None and not last:
            engine = execution.gauges()
            self._session.engine = engine
        # Rows of unfinished chunks count for the display; what is committed is the lower bound. (A retry commits whole
        # chunks, carried rows included: there the engines' own count is the only one that fits.)
        scope = self._plan.scope
        mine, earlier = (Totals(), Totals()) if scope.mends else (self._mine, self._earlier)
        live = {s: max(mine.rows[s], int(engine.get(f"rows_{s}", 0))) for s in STATUSES}
        rows = {s: earlier.rows[s] + live[s] for s in STATUSES}
        self._session.rows = live
        usage = self._session.usage = mine.usage.at_least(usage_of(engine))
        limit = engine.get("limit", 0)
        # Of an endpoint that answers nobody, neither how full it is nor the pace until now says anything.
        self._session.silent = silences(engine)
        silent = self._silent = bool(self._session.silent)
        occupancy = min(1.0, engine.get("in_flight", 0) / limit) if limit and not silent else None
        if self._session.engine_start_s is None and engine.get("replicas"):
            self._session.engine_start_s = time.time()
        now_s, done = time.monotonic(), sum(live.values())
        for unit, amount in usage.items():
            self._made.setdefault(unit, Rate()).add(now_s, amount)
        self._computed.add(now_s, engine.get("prompt_tokens_computed", 0))
        self._session.add_point(done, occupancy or 0.0)
        total = scope.rows
        left = rows_left(self._plan, rows, total)
        began_s = self._session.engine_start_s or self._session.started_s
        if silent:
            self._resumed = (time.time(), done)
        since_s, since_rows = self._resumed or (began_s, 0)
        points = ((at_s, rows_then - since_rows) for at_s, rows_then, *_ in self._session.points)
        pace = pace_of(points, since_s, time.time())
        # The first rows to end are the shortest: of so few, the time left would come out far too long.
        enough = (
            pace is not None and not silent and done >= min(engine.get("in_flight", 0), (done + left) / 4)
        )
        self._session.eta_s = pace.left_s(left) if pace is not None and enough else None
        if self._display:
            together = earlier.usage + usage
            self._display.update(
                Progress(
                    self._plan.name, total, rows,
                    (self._chunks, len(self._plan.todo)), together,
                    None if pace is None else pace.per_s,
                    self._made.get(together.lead, Rate()).per_s(now_s), self._computed.per_s(now_s),
                    occupancy, int(engine.get("replicas", 0)), self._session.eta_s, now_s - self._began_s, self.stopping, engine,
                )
            )  # fmt: skip
        if self._tolerance is not None and self._tolerance.exceeded(live["failed"], done, total):
            self._too_many_failed = True
            self.stop(
                f"too many rows failed: {live['failed']:,} of {done:,} done in this session "
                f"(max_failed {self._tolerance.said}; why: raygen show {self._store.uri} --status failed)"
            )
        if (cap := self._budget.reached(usage, now_s - self._began_s)) is not None:
            self.stop(cap)
