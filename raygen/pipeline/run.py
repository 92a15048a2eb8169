"""Run a job: prepare it, do what is left, and finish. The same call resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Protocol

from raygen.engines.figures import missing_lines
from raygen.errors import KeyNotFoundError, StorageError
from raygen.formatting import count, duration
from raygen.messages import Say, sayer
from raygen.pipeline.budget import Budget
from raygen.pipeline.monitor import Execution, Monitor, Progress
from raygen.pipeline.result import RunResult
from raygen.pipeline.work import Report, Todo, Work, grouped, todos_of
from raygen.program.job import Job
from raygen.program.prepare import Prepared, prepare
from raygen.reports.page import REPORT_KEY
from raygen.reports.summary import write_report
from raygen.runs.commit import Commit, committed_chunks, put_commit
from raygen.runs.duplicate_finder import find_duplicates
from raygen.runs.duplicates import Duplicates, deduplication_of, write_duplicates
from raygen.runs.enough import acceptance
from raygen.runs.ledger import Ledger
from raygen.runs.manifest import MANIFEST_KEY, Manifest, finish
from raygen.runs.overlap import Overlap
from raygen.runs.reuse import Reuse
from raygen.storage import open_store
from raygen.terminal import Display

STORE_PATIENCE_S, STORE_PAUSE_S = 600.0, 5.0
MAX_GROUPS = 512  # reading tasks a pass: each is an object in Ray's store before the first row is read


class Carrier(Execution, Protocol):
    """What carries out the work of a session: `stop` lets chunks in flight end, and begins no new one."""

    def start(self) -> None: ...

    def reports(self) -> Iterator[Report]: ...

    def close(self) -> None: ...


Execute = Callable[[Work, list[list[Todo]]], Carrier]


def run_job(
    job: Job,
    *,
    inline: bool = False,
    budget: Budget | None = None,
    display: Display[Progress] | None = None,
    say: Say | None = None,
) -> RunResult:
    """Run a job to its end, or go on where an earlier session stopped.

    Args:
        inline: work in this process instead of on Ray.
        say: takes lines for people, such as what a resume found; None: they are logged (messages.py).

    Raises:
        UserError: refused before any work. StorageError: the store stopped answering; run again to resume.
        EngineError: a model broke; run again to resume.
    """
    say = say or sayer(run=job.output_uri)
    return drive(prepare(job, say), inline=inline, budget=budget, display=display, say=say)


def drive(
    run: Prepared,
    *,
    inline: bool,
    budget: Budget | None = None,
    display: Display[Progress] | None = None,
    say: Say = lambda line: None,
    execute: Execute | None = None,
    began: Callable[[Monitor], None] = lambda monitor: None,
    report: bool = True,
) -> RunResult:
    """Do what is left of a prepared run.

    Args:
        execute: makes what carries out the work, of the work and its chunks in groups; None: inline, or on Ray.
        began: is told of the monitor, by which others stop the session.
        report: whether a finished run gets its report.
    """
    store, plan = run.store, run.plan
    if store.exists(MANIFEST_KEY):
        say(f"{store.uri} is finished; nothing to do")
        return _finished(run, Manifest.load(store), say, report)
    work = _work_of(run, say)
    ledger = Ledger(store, plan, lambda commits: _count_duplicates(run, commits))
    if run.resumed:
        say(
            f"resuming {store.uri}: {len(ledger.done):,} of {count(len(plan.todo), 'chunk is', 'chunks are')} committed"
        )
    monitor = Monitor(store, plan, display, budget, run.job.execution.tolerance)
    monitor.found(len(ledger.done))
    ledger.read_earlier(monitor.loaded)
    began(monitor)
    with monitor.session():
        if not ledger.over:
            with _cluster(inline or execute is not None):
                _passes(work, ledger, monitor, run.overlap, execute or _execution(inline), say)
        manifest = ledger.settle()
        if manifest is None:
            if not ledger.over:
                _say_missing(monitor, say)
                return monitor.interrupted()
            commits = ledger.commits()
            manifest = finish(store, plan, commits.values(), _duplicates(run, commits, say))
        monitor.finished()
    _say_missing(monitor, say)
    return _finished(run, manifest, say, report)


def _work_of(run: Prepared, say: Say) -> Work:
    """Return what workers need to know, and say how the run goes about it."""
    store, plan = run.store, run.plan
    single_committer = not store.has_conditional_put()
    if single_committer:
        say(
            f"{store.uri} has no conditional writes: only this driver commits. Never start two drivers on this run"
        )
    if run.reuse is not None:
        say(_reusing(run, run.reuse))
    if not plan.rows:
        say(f"the source holds no rows ({', '.join(run.job.source.uris)}): there is nothing to do")
    return Work.of(
        run.job, plan, run.models, store, single_committer=single_committer, carried=run.carried,
        reuse=run.reuse,
    )  # fmt: skip


def _say_missing(monitor: Monitor, say: Say) -> None:
    for line in missing_lines(monitor.figures):
        say(line)


def _reusing(run: Prepared, reuse: Reuse) -> str:
    """Say how much of this run's rows the reused one has."""
    if run.overlap is not None:
        rows = count(run.plan.rows, "row has", "rows have")
        unread = run.overlap.unread
        less = f"; nothing is reused of {count(len(unread), 'chunk')}, such as {unread[0]}" if unread else ""
        return f"reusing {reuse.uri}: {run.overlap.rows:,} of {rows} an outcome there{less}"
    there = len(committed_chunks(open_store(reuse.uri, reuse.storage)))
    chunks = count(len(run.plan.chunks), "chunk is", "chunks are")
    return f"reusing {reuse.uri}: {there:,} of {chunks} committed there"


def _duplicates(run: Prepared, commits: dict[int, Commit], say: Say) -> Duplicates | None:
    """Find the duplicates in the whole merged run, and write them down."""
    config = deduplication_of(run.plan)
    if config is None:
        return None
    chunks = {commit.chunk: (where, commit) for where, commit in run.standing}
    chunks |= {chunk: (run.store, commit) for chunk, commit in commits.items()}
    say("looking for duplicates among the accepted rows")
    return write_duplicates(run.store, find_duplicates(chunks.values(), config))


def _count_duplicates(run: Prepared, commits: Iterable[Commit]) -> int:
    """How many of the rows that are accepted so far are duplicates."""
    config = deduplication_of(run.plan)
    if config is None:
        return 0
    return int(find_duplicates(((run.store, commit) for commit in commits), config).num_rows)


def _passes(
    work: Work,
    ledger: Ledger,
    monitor: Monitor,
    overlap: Overlap | None,
    execute: Execute,
    say: Say,
) -> None:
    """Work through what is left, again and again, until there is enough or the session is to stop.

    Raises:
        StorageError: a whole pass has brought no chunk.
    """
    while not monitor.stopping:
        before = len(ledger.done)
        problem = _pass(work, ledger, monitor, overlap, execute, say)
        if ledger.over:
            return
        if len(ledger.done) == before and not monitor.stopping:
            raise StorageError(f"no chunk could be committed: {problem}")


def _pass(
    work: Work,
    ledger: Ledger,
    monitor: Monitor,
    overlap: Overlap | None,
    execute: Execute,
    say: Say,
) -> str | None:
    """Work once through all chunks that are left; return the last problem."""
    problem = None
    todos = todos_of(ledger.plan, ledger.done, overlap)
    execution = execute(work, grouped(work.job, ledger.plan, todos, MAX_GROUPS))
    try:
        execution.start()
        monitor.watch(execution)
        for report in execution.reports():
            if report.problem is not None:
                problem = report.problem
                continue
            if report.note is not None:
                say(report.note)
            _take(report, work, ledger, monitor)
    finally:
        monitor.unwatch()
        execution.close()
    if not monitor.stopping:
        _patiently(ledger.look, monitor, say)
    return problem


def _take(report: Report, work: Work, ledger: Ledger, monitor: Monitor) -> None:
    """Take note of a chunk that a worker says is committed, or commit it, where only the driver commits."""
    commit, mine = report.commit, report.mine
    if commit is not None and work.single_committer:
        commit, mine = put_commit(ledger.store, commit)
    try:
        commit = ledger.take(report.chunk, commit)
    except KeyNotFoundError:
        monitor.stop("another driver has finished the run")
        return
    monitor.committed(commit, mine)
    if ledger.goal.reached:
        monitor.stop(f"enough: {ledger.goal.line}")


def _execution(inline: bool) -> Execute:
    """Return what carries out the work; Ray is only imported where it is used."""
    if inline:
        from raygen.pipeline.inline import InlineExecution

        return InlineExecution
    from raygen.pipeline.execute import RayExecution

    return RayExecution


def _patiently(look: Callable[[], None], monitor: Monitor, say: Say) -> None:
    """Look at the store, which may be away for a while: what was not committed meanwhile is for the next pass."""
    until_s, told = time.monotonic() + STORE_PATIENCE_S, False
    while True:
        try:
            look()
            return
        except StorageError as error:
            if monitor.stopping or time.monotonic() > until_s:
                raise
            if not told:
                say(f"{error}; asking again for {duration(STORE_PATIENCE_S)}")
            told = True
            time.sleep(STORE_PAUSE_S)


def _cluster(inline: bool):  # type: ignore[no-untyped-def]
    if inline:
        return nullcontext()
    from raygen.cluster.connect import connected

    return connected()


def _finished(run: Prepared, manifest: Manifest, say: Say, wanted: bool) -> RunResult:
    """Return the result of a finished run, with its report; a session may have died before it wrote one."""
    store, plan, tolerance = run.store, run.plan, run.job.execution.tolerance
    rows, report = manifest.rows, None
    if wanted and not plan.scope.mends:  # a retry is reported with the run that it mends
        try:
            report = store.uri_of(REPORT_KEY) if store.exists(REPORT_KEY) else write_report(store)
        except Exception as error:  # noqa: BLE001 - the outcomes are there, whatever became of their picture
            say(f"the report could not be written: {type(error).__name__}: {error}")
    return RunResult(
        store.uri, "finished", manifest.rows, manifest.usage, None, report, manifest.calls,
        acceptance(plan, manifest.rows, finished=True),
        tolerance is not None and tolerance.exceeded(rows["failed"], rows["total"], rows["total"]),
    )  # fmt: skip
