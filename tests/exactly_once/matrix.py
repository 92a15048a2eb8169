"""The crash matrix: one case is a run (or a retry, or a collection) with a fault in it, brought to its end and judged."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import raygen
from raygen.errors import UserError
from raygen.review.show import outcomes_of
from tests.exactly_once.failpoints import ACTIONS, READ_ACTIONS, WRITES, Fault, Script
from tests.exactly_once.oracle import Expected, Findings, judge_commits, judge_finished, judge_rows, live_data
from tests.exactly_once.places import Place
from tests.exactly_once.sessions import Bench

MAX_SESSIONS = 6  # to bring a run to its end, faults included


@dataclass(frozen=True)
class Case:
    """Args:
    what: `run`, `reuse`, `resume`, `retry` or `collect`: which session has the fault.
    fault: the first session's; again: the next session's.
    late: a stopped process wakes past its attempts' limit.
    s3: on FaultS3 instead of in a directory.
    """

    what: str
    fault: Fault
    again: Fault | None = None
    late: bool = False
    s3: bool = False

    def __str__(self) -> str:
        then = f", then {self.again.failpoint}#{self.again.nth} {self.again.action}" if self.again else ""
        where = " on S3" if self.s3 else ""
        late = " late" if self.late else ""
        return f"{self.what}: {self.fault.failpoint}#{self.fault.nth} {self.fault.action}{late}{then}{where}"


@dataclass
class Judged:
    findings: Findings = field(default_factory=Findings)
    faults: int = 0  # given
    recomputed: int = 0  # chunks generated more often than was needed, by the driver under test


def cases(seen: dict[str, dict[str, int]], seed: int, s3_share: float) -> list[Case]:
    """Every failpoint with every action, once; the seed decides which time, what follows, and where.

    Args:
        seen: for each kind of session, how often each failpoint is passed without a fault.
    """
    luck = random.Random(seed)
    found = []
    for what, counts in seen.items():
        for failpoint, count in sorted(counts.items()):
            for action in ACTIONS if failpoint.split(":")[0] in WRITES else READ_ACTIONS:
                late = action.startswith("stop") and bool(luck.getrandbits(1))
                s3 = action != "kill_during" and luck.random() < s3_share
                case = Case(what, Fault(failpoint, luck.randint(1, count), action), None, late, s3)
                if seed and luck.random() < 0.5:
                    second = luck.choice(sorted(counts))
                    actions = [each for each in READ_ACTIONS if not each.startswith("stop")]
                    again = Fault(second, luck.randint(1, counts[second]), luck.choice(actions))
                    case = replace(case, again=again)
                found.append(case)
    luck.shuffle(found)
    # Side effects first: a small number of cases covers each of them with each action.
    return sorted(found, key=lambda case: case.fault.failpoint.split(":")[0] not in WRITES)


def spread(cases: list[Case]) -> list[Case]:
    """Order cases so that the first few are of as many failpoints as there are."""
    turns: Counter[str] = Counter()

    def turn(case: Case) -> int:
        turns[case.fault.failpoint] += 1
        return turns[case.fault.failpoint]

    return [case for _, _, case in sorted((turn(case), n, case) for n, case in enumerate(cases))]


def judge(case: Case, place: Place, bench: Bench, expected: Expected, todo: int) -> Judged:
    """Play a case to its end and judge it.

    Args:
        bench: of `place`, which holds what the case begins with.
        todo: how many chunks are left to generate then.
    """
    result = Judged()
    with _no_bug(result.findings, case):
        _play(case, place, bench, replace(expected, retried=case.what in ("retry", "collect")), result)
    result.recomputed = max(0, bench.noted("main") - todo)
    if result.recomputed > result.faults:
        result.findings.other.append(f"{result.recomputed} chunks recomputed for {result.faults} faults")
    if bench.noted("late"):
        result.findings.other.append("an attempt wrote after its limit")
    return result


def _play(case: Case, place: Place, bench: Bench, expected: Expected, result: Judged) -> None:
    for fault in filter(None, (case.fault, case.again)):
        result.faults += _faulty_session(case, fault, bench, result.findings)
        _judge_middle(place, bench, expected, result.findings)
    _finish(case.what, bench, result.findings)
    result.findings.add(judge_finished(place.objects(), expected))
    everyone = [row for chunk in expected.chunks for row in chunk]
    result.findings.add(judge_rows(_read(bench), everyone, expected))
    _finish("collect", bench, result.findings)
    objects = place.objects()
    result.findings.add(judge_finished(objects, expected))
    orphans = {key for key in objects if "data/" in key} - live_data(objects)
    if orphans:
        result.findings.other.append(f"orphans were not collected: {sorted(orphans)[:2]}")


def _faulty_session(case: Case, fault: Fault, bench: Bench, findings: Findings) -> int:
    """Returns how many faults were given."""
    script = Script((fault,), lambda failpoint, key: bench.second(case.what, failpoint, key), case.late)
    if not fault.action.startswith(("kill", "stop")):
        with _no_bug(findings, fault):
            bench.session(case.what, script)
        return len(script.fired)
    pid = bench.child(case.what, script)
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        _finish(case.what, bench, findings)
        _finish("collect", bench, findings)
        os.kill(pid, signal.SIGCONT)
        _, status = os.waitpid(pid, 0)
        given = 1
    else:
        given = int(os.WIFSIGNALED(status))
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) not in (0, 3):
        findings.other.append(f"the process ended with {os.WEXITSTATUS(status)}: {bench.error()}")
    return given


@contextlib.contextmanager
def _no_bug(findings: Findings, about: object) -> Iterator[None]:
    """Whatever is not an error of raygen's own is a bug, and a broken promise."""
    try:
        yield
    except Exception:  # noqa: BLE001
        findings.other.append(f"{about}: {traceback.format_exc()}")


def _finish(what: str, bench: Bench, findings: Findings) -> None:
    said = []
    with _no_bug(findings, what):
        while not said or said[-1] != "done":
            if len(said) == MAX_SESSIONS:
                findings.other.append(f"{what} does not come to its end: {said}")
                return
            said.append(bench.session(what))


def _judge_middle(place: Place, bench: Bench, expected: Expected, findings: Findings) -> None:
    """What is committed must hold already, and readers must see nothing else."""
    objects = place.objects()
    first = replace(expected, retried=False)
    found, chunks = judge_commits(objects, "", first)
    findings.add(found)
    if expected.retried:
        found, _ = judge_commits(objects, "retries/0001/", expected)
        findings.add(found)
        merged = expected if "retries/0001/manifest.json" in objects else first
        seen = judge_rows(_read(bench), [row for chunk in expected.chunks for row in chunk], merged)
        findings.uncommitted_visible += bool(seen.broken)
        return
    if "manifest.json" not in objects:
        with contextlib.suppress(UserError):
            findings.uncommitted_visible += len(_read(bench)) + 1
    if "plan.json" in objects:
        shown = [(row["row_id"], row["status"], _texts(row)) for row in outcomes_of(bench.store(), None)]
        committed = [row for chunk in sorted(chunks) for row in expected.chunks[chunk]]
        findings.uncommitted_visible += bool(judge_rows(shown, committed, first).broken)


def _texts(row: dict[str, list[dict[str, str]]]) -> tuple[str, ...]:
    return tuple(sample["text"] or sample["digest"] for sample in row["samples"])


def _read(bench: Bench) -> list[tuple[str, str, tuple[str, ...]]]:
    """What a reader gets. Raises UserError while the run is unfinished."""
    run = raygen.open_run(bench.uri, bench.storage)
    rows = run.to_arrow().to_pylist(maps_as_pydicts="lossy")
    if not bench.media:
        return [(row["row_id"], row["status"], _texts(row)) for row in rows]
    return [
        (
            row["row_id"],
            row["status"],
            tuple(hashlib.sha256(run.media(sample) or b"").hexdigest() for sample in row["samples"]),
        )
        for row in rows
    ]
