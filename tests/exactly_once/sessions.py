"""Sessions: one driver's time on the run under test, with a script of faults; in this process, or in a child."""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raygen.config.source import StorageOptions
from raygen.errors import RaygenError
from raygen.pipeline import retry, run, work
from raygen.pipeline.work import Work, todos_of
from raygen.program import host, prepare
from raygen.program.job import Job
from raygen.program.resolve import resolve_models
from raygen.reports import summary
from raygen.runs import collect, commit, manifest, plan
from raygen.runs.commit import chunk_name
from raygen.runs.plan import Plan
from raygen.runs.retries import read_merged
from raygen.storage import Store, create, open_store
from tests.exactly_once.failpoints import FaultyStore, Script
from tests.exactly_once.oracle import BUDGET, THRESHOLD, Expected, Row

FAR_S = 400 * 86400.0  # past every grace period
LATE_S = 7 * 3600.0  # past every attempt's limit
SHORT, LONG = 3, 30  # words of a prompt; the engine's first setting takes 10
CHUNK_ROWS = 6
SEED = 11
MEDIA_BYTES = 12_000  # of a picture: 12 of them are a chunk, 5 an archive


def write_source(folder: Path, refined: bool = False, media: bool = False) -> Expected:
    """Write two files of JSON Lines, 36 rows, 7 chunks; in the first every fifth row has too long a prompt."""
    chunks: list[tuple[Row, ...]] = []
    folder.mkdir(parents=True)
    for name, numbers in (("a", range(20)), ("b", range(20, 36))):
        rows = [_row(n, name == "a" and n % 5 == 4) for n in numbers]
        lines = [f'{{"id": "{row.id}", "text": "{row.prompt}"}}\n' for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines))
        chunks += [tuple(rows[at : at + CHUNK_ROWS]) for at in range(0, len(rows), CHUNK_ROWS)]
    return Expected(tuple(chunks), SEED, 2, refined=refined, media_bytes=MEDIA_BYTES if media else 0)


def _row(number: int, fails: bool) -> Row:
    return Row(f"r{number}", " ".join(["w"] * (LONG if fails else SHORT)) + str(number), fails)


def echo_job(
    source: Path,
    output: str,
    storage: StorageOptions,
    refined: bool = False,
    reuse: str | None = None,
    media: bool = False,
) -> Job:
    """One of the programs that the oracle knows; of pictures a chunk has several archives."""
    steps: list[dict[str, Any]] = [{"generate": {"model": "m", "prompt": "{{ text }}", "samples": 2}}]
    models: dict[str, Any] = {
        "m": {"family": "causal_lm", "engine": "echo", "options": {"context_tokens": 10}}
    }
    sink: dict[str, Any] = {"chunk_rows": CHUNK_ROWS}
    if media:
        models["m"]["family"] = "diffusion"
        models["m"]["options"]["media_bytes"] = MEDIA_BYTES
        steps[0]["generate"]["render"] = {}
        sink |= {"media": "beside", "chunk_bytes": 2**16, "max_sample_bytes": 2**16}
    if refined:
        models["judge"] = {"family": "classifier", "engine": "echo"}
        entailment = {"model": "judge", "premise": "{{ text }}", "threshold": THRESHOLD}
        steps.append({"verify": {"entailment": entailment}})
        steps.append({"refine": {"prompt": "{{ text }} {{ sample }}", "budget": BUDGET}})
    return Job.model_validate(
        {
            "name": "matrix",
            "source": {"format": "jsonl", "uri": f"{source}/*.jsonl", "key": "id", "storage": storage},
            "models": models,
            "steps": steps,
            "seed": SEED,
            "sink": sink,
            "execution": {"chunks_in_flight": 1, "reuse": reuse},
            "output": output,
        }
    )


RETRY = ["models.m.options.context_tokens=1000"]


@dataclass
class Bench:
    """Where one run under test lives, and what is done to it.

    Args:
        uri: of the run; storage: how to reach it.
        notes: a file that every process appends a line to for each chunk that it generates.
        refined: by which program. reuse: the run that a `reuse` session takes over what it can from.
    """

    uri: str
    source: Path
    notes: Path
    storage: StorageOptions = field(default_factory=StorageOptions)
    refined: bool = False
    reuse: str | None = None
    media: bool = False

    def store(self) -> Store:
        return open_store(self.uri, self.storage)

    def job(self, reuse: str | None = None) -> Job:
        return echo_job(self.source, self.uri, self.storage, self.refined, reuse, self.media)

    def error(self) -> str:
        """What the last bug in a child said."""
        path = self.notes.with_suffix(".error")
        return path.read_text() if path.exists() else ""

    def note(self, word: str) -> None:
        with open(self.notes, "a") as file:
            file.write(f"{word}\n")

    def noted(self, word: str) -> int:
        """How often a word was noted: `main` and `second` for each chunk generated, `late` for a forbidden write."""
        return self.notes.read_text().split().count(word) if self.notes.exists() else 0

    def session(self, what: str, script: Script | None = None) -> str:
        """Run, retry or collect once, here; returns `done`, or the name of raygen's error that ended it."""
        with _patched(self, script):
            try:
                return self._do(what)
            except RaygenError as error:
                return type(error).__name__

    def _do(self, what: str) -> str:
        if what in ("run", "resume"):
            return _state(run.run_job(self.job(), inline=True))
        if what == "reuse":
            return _state(run.run_job(self.job(self.reuse), inline=True))
        if what == "retry":
            return _state(retry.retry_run(self.uri, RETRY, inline=True, display=None, say=lambda line: None))
        collect.collect(run.open_store(self.uri, self.storage), 0, now_s=time.time() + FAR_S)
        return "done"

    def child(self, what: str, script: Script) -> int:
        """Do the same in a child process; returns its pid. Its exit code is 0: done, 3: raygen's error, 70: a bug."""
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            code = 0 if self.session(what, script) == "done" else 3
            for _ in script.late_writes:
                self.note("late")
        except BaseException:  # noqa: BLE001 - told to the parent, in words and by the exit code
            with open(self.notes.with_suffix(".error"), "a") as file:
                file.write(traceback.format_exc())
        finally:
            os._exit(code)

    def second(self, what: str, failpoint: str, key: str) -> None:
        """Do what the first worker is about to do, whole: the same chunk, or else all of it."""
        kind = failpoint.partition(":")[2]
        if (
            kind.removeprefix("retry-") not in ("data", "media", "commit")
            or key.endswith("/")
            or what == "collect"
        ):
            with _as("second"):
                self._do(what)
            return
        chunk = int(key.rpartition("/")[2][:8])
        root = self.store()
        store = root.child("retries/0001") if kind.startswith("retry-") else root
        pinned = Plan.load(store)
        job = Job.model_validate(pinned.job)
        carried = {} if pinned.only is None else {c.chunk: (s, c) for s, c in read_merged(root).chunks}
        shared = Work.of(job, pinned, resolve_models(job), store, single_committer=False, carried=carried)
        todo = next(todo for todo in todos_of(pinned, set()) if todo.chunk == chunk)
        with _as("second"):
            do_chunk(shared, store, todo)


def do_chunk(worker: Work, store: Store, todo: work.Todo) -> work.Report | None:
    """One worker's whole way with one chunk; None if it was done."""
    attempt = worker.begin(store, todo)
    if attempt is None:
        return None
    (parcel,) = worker.read([todo])
    engines = worker.host()
    engines.start()
    try:
        result = worker.generate(engines, store, todo, attempt, parcel.rows, None)
        return worker.write(store, parcel.ids, todo, result, attempt.started_s)
    finally:
        engines.close()


def _state(result: run.RunResult) -> str:
    return "done" if result.state == "finished" else result.state


_who = "main"


@contextlib.contextmanager
def _as(who: str) -> Iterator[None]:
    """Be another worker: on another machine, so that its data objects are other bytes."""
    global _who
    before = _who, host.machine_name
    _who, host.machine_name = who, lambda: f"machine of {who}"
    try:
        yield
    finally:
        _who, host.machine_name = before


@contextlib.contextmanager
def _patched(bench: Bench, script: Script | None) -> Iterator[None]:
    """Put failpoints under everything that a session does, and leave out what costs time and proves nothing here."""
    clock = SimpleNamespace(time=time.time, sleep=lambda seconds: None)
    begin, begun = Work.begin, []

    def opened(uri: str, options: StorageOptions | None = None) -> Store:
        store = open_store(uri, options or bench.storage)
        top = uri.removeprefix(bench.uri).strip("/")
        return store if script is None else FaultyStore(store, script, f"{top}/" if top else "")

    def noted(self: Work, store: Store, todo: work.Todo) -> commit.Attempt | None:
        attempt = begin(self, store, todo)
        if attempt is not None:
            attempt.started_s = clock.time()
            begun.append(chunk_name(todo.chunk))
            bench.note(_who)
        return attempt

    def woken() -> None:
        if script is not None and script.late:
            clock.time = lambda: time.time() + LATE_S
            script.forbidden = begun[-1:]

    if script is not None:
        script.woken = woken
    with pytest.MonkeyPatch.context() as patch:
        for module in (prepare, run, work, retry):
            patch.setattr(module, "open_store", opened)
        for module in (commit, manifest, plan, create):
            patch.setattr(module, "time", clock)
        patch.setattr(Work, "begin", noted)
        patch.setattr(summary, "report_data", lambda store: None)
        patch.setattr("raygen.reports.run.render_report", lambda data: "<html>")
        # A killed process loses nothing that the kernel has; only a power failure would need it.
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
