"""Run a job: prepare it, do what is left, and finish. The same call resumes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext

from raygen.engines.figures import missing_lines
from raygen.errors import CorruptDataError, KeyNotFoundError, StorageError
from raygen.formatting import count, duration
from raygen.messages import Say, sayer
from raygen.pipeline.budget import Budget
from raygen.pipeline.monitor import Display, Monitor
from raygen.pipeline.result import RunResult
from raygen.pipeline.work import Work, grouped, todos_of
from raygen.program.job import Job
from raygen.program.prepare import Prepared, prepare
from raygen.reports.summary import REPORT_KEY, write_report
from raygen.runs.commit import Commit, committed_chunks, put_commit, read_commit, read_commits
from raygen.runs.duplicate_finder import find_duplicates
from raygen.runs.duplicates import Duplicates, deduplication_of, write_duplicates
from raygen.runs.enough import Target, acceptance
from raygen.runs.manifest import MANIFEST_KEY, Manifest, finish
from raygen.runs.overlap import Overlap
from raygen.runs.plan import Plan
from raygen.runs.reuse import Reuse
from raygen.storage import Store, open_store

STORE_PATIENCE_S, STORE_PAUSE_S = 600.0, 5.0
MAX_GROUPS = 512  # reading tasks a pass: each is an object in Ray's store before the first row is read


def run_job(
    job: Job,
    *,
    inline: bool = False,
    budget: Budget | None = None,
    display: Display | None = None,
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
    display: Display | None = None,
    say: Say = lambda line: None,
) -> RunResult:
    """Do what is left of a prepared run."""
    store, plan = run.store, run.plan
    if store.exists(MANIFEST_KEY):
        say(f"{store.uri} is finished; nothing to do")
        return _finished(run, Manifest.load(store), say)
    single_committer = not store.has_conditional_put()
    if single_committer:
        say(
            f"{store.uri} has no conditional writes: only this driver commits. Never start two drivers on this run"
        )
    work = Work.of(
        run.job, plan, run.models, store, single_committer=single_committer, carried=run.carried,
        reuse=run.reuse,
    )  # fmt: skip
    if run.reuse is not None:
        say(_reusing(run, run.reuse))
    if not plan.rows:
        say(f"the source holds no rows ({', '.join(run.job.source.uris)}): there is nothing to do")
    done = committed_chunks(store) & set(plan.todo)
    if run.resumed:
        say(
            f"resuming {store.uri}: {len(done):,} of {count(len(plan.todo), 'chunk is', 'chunks are')} committed"
        )
    known: dict[int, Commit] = {}
    tolerance = run.job.execution.tolerance
    monitor = Monitor(store, plan, display, budget, tolerance)
    monitor.found(len(done))
    earlier = threading.Thread(target=_load, args=(store, sorted(done), known, monitor), daemon=True)
    earlier.start()
    target = Target(plan, lambda commits: _count_duplicates(run, commits))
    if target.wanted is not None:
        earlier.join()  # first: whether there is anything left to do depends on what they accepted
        target.add(known.values())
    with monitor.session():
        if len(done) < len(plan.todo) and not target.reached:
            with _cluster(inline):
                while not monitor.stopping:
                    before = len(done)
                    problem = _pass(work, inline, plan, done, known, store, monitor, target, say, run.overlap)
                    if len(done) == len(plan.todo) or target.reached:
                        break
                    if len(done) == before and not monitor.stopping:
                        raise StorageError(f"no chunk could be committed: {problem}")
        earlier.join()
        if target.wanted is not None:
            if store.exists(MANIFEST_KEY):  # another driver has decided which chunks are in
                monitor.finished()
                return _finished(run, Manifest.load(store), say)
            _see(store, plan, done, known, target)
        if len(done) < len(plan.todo) and not target.reached:
            _say_missing(monitor, say)
            return monitor.interrupted()
        if missing := done - committed_chunks(store):
            raise StorageError(
                f"{store.uri}: {count(len(missing), 'chunk was', 'chunks were')} committed on other nodes "
                "but cannot be seen from here; "
                "the output has to be s3:// or a path that all nodes share"
            )
        unread = sorted(done - known.keys())
        known.update((commit.chunk, commit) for commit in read_commits(store, unread))
        manifest = finish(store, plan, known.values(), _duplicates(run, known, say))
        monitor.finished()
    _say_missing(monitor, say)
    return _finished(run, manifest, say)


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


def _pass(
    work: Work,
    inline: bool,
    plan: Plan,
    done: set[int],
    known: dict[int, Commit],
    store: Store,
    monitor: Monitor,
    target: Target,
    say: Say,
    overlap: Overlap | None,
) -> str | None:
    """Work once through all chunks that are left; returns the last problem. Marks what was committed in `done`."""
    problem = None
    todos = grouped(work.job, plan, todos_of(plan, done, overlap), MAX_GROUPS)
    if inline:
        from raygen.pipeline.inline import InlineExecution as Execution
    else:
        from raygen.pipeline.execute import RayExecution as Execution  # type: ignore[assignment]
    execution = Execution(work, todos)
    try:
        execution.start()
        monitor.watch(execution)
        for report in execution.reports():
            if report.problem is not None:
                problem = report.problem
                continue
            if report.note is not None:
                say(report.note)
            commit, mine = report.commit, report.mine
            if commit is None and target.wanted is not None:
                try:
                    commit = read_commit(store, report.chunk)  # another driver's: its rows count too
                except KeyNotFoundError:
                    monitor.stop("another driver has finished the run")
                    continue
            elif commit is not None and work.single_committer:
                commit, mine = put_commit(store, commit)
            if commit is not None:
                known[report.chunk] = commit
            done.add(report.chunk)
            monitor.committed(commit, mine)
            target.add([commit] if commit is not None else [])
            if target.reached:
                monitor.stop(f"enough: {target.accepted:,} accepted of {target.wanted:,} wanted")
    finally:
        monitor.unwatch()
        execution.close()
    if not monitor.stopping:
        _patiently(lambda: _see(store, plan, done, known, target), monitor, say)
    return problem


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


def _see(store: Store, plan: Plan, done: set[int], known: dict[int, Commit], target: Target) -> None:
    """Take note of what another driver committed meanwhile; what it accepted only matters where a number is wanted."""
    done |= committed_chunks(store) & set(plan.todo)
    if target.wanted is not None:
        unread = sorted(done - known.keys())
        known.update((commit.chunk, commit) for commit in read_commits(store, unread))
        target.add(known.values())


def _cluster(inline: bool):  # type: ignore[no-untyped-def]
    if inline:
        return nullcontext()
    from raygen.cluster.connect import connected

    return connected()


def _load(store: Store, chunks: list[int], known: dict[int, Commit], monitor: Monitor) -> None:
    """Read the commits of earlier sessions beside the work: a resume of many chunks starts at once."""
    with contextlib.suppress(StorageError, CorruptDataError):  # what is missing is read again at the end
        for commit in read_commits(store, chunks):
            known[commit.chunk] = commit
            monitor.loaded(commit)


def _finished(run: Prepared, manifest: Manifest, say: Say) -> RunResult:
    """The result of a finished run, with its report; a session may have died before it wrote one."""
    store, plan, tolerance = run.store, run.plan, run.job.execution.tolerance
    rows, report = manifest.rows, None
    if plan.only is None:  # a retry is reported with the run that it mends
        try:
            report = store.uri_of(REPORT_KEY) if store.exists(REPORT_KEY) else write_report(store)
        except Exception as error:  # noqa: BLE001 - the outcomes are there, whatever became of their picture
            say(f"the report could not be written: {type(error).__name__}: {error}")
    return RunResult(
        store.uri, "finished", manifest.rows, manifest.usage, None, report, manifest.calls,
        acceptance(plan, manifest.rows, finished=True),
        tolerance is not None and tolerance.exceeded(rows["failed"], rows["total"], rows["total"]),
    )  # fmt: skip
