"""The crash matrix of batches: a case is a story with one fault in one of its sessions, played to its end and judged."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raygen.serve.batches.layout import OPEN
from tests.exactly_once.failpoints import ACTIONS, READ_ACTIONS, WRITES, Fault, Script
from tests.exactly_once.places import Bucket, Directory
from tests.exactly_once.places import Place as Stored
from tests.fakes.batch_service import answer_to
from tests.fakes.fault_s3 import FaultS3
from tests.serve.batches.crash.scene import FAILING, ROWS, TENANT, Scene, kind

RANK = {"none": 0, "validating": 1, "in_progress": 2, "cancelling": 3, "finalizing": 4}
OVER = 9
STORIES: Mapping[str, tuple[str, ...]] = {
    "completed": ("upload", "create", "work", "retry", "work", "collect"),
    "cancelled": ("upload", "create", "part", "cancel", "work", "collect"),
    "expired": ("upload", "create", "part", "late", "work", "collect"),
}
# What else happens at the moment of a `duplicate`.
MEANWHILE = ("work", "cancel", "cut", "late", "collect")
TRIES = 6


@dataclass(frozen=True)
class Case:
    """Args:
    story: of STORIES. at: the number of the session that has the fault.
    meanwhile: what happens at a `duplicate`. key: whether the client sends idempotency keys. s3: on FaultS3.
    """

    story: str
    at: int
    fault: Fault
    meanwhile: str = "work"
    key: bool = True
    s3: bool = False

    def __str__(self) -> str:
        what, fault = STORIES[self.story][self.at], self.fault
        also = f" ({self.meanwhile})" if fault.action == "duplicate" else ""
        return (
            f"{self.story}, {self.at} {what}: {fault.failpoint}#{fault.nth} {fault.action}{also}"
            f"{'' if self.key else ', no key'}{', S3' if self.s3 else ''}"
        )


@dataclass
class Judge:
    """What was seen of a case so far; `broken` names every promise that was not kept."""

    place: Stored
    broken: list[str] = field(default_factory=list)
    given: int = 0
    sleeper: int | None = None
    _rank: int = 0
    _once: dict[str, bytes] = field(default_factory=dict)
    _results: dict[str, bytes] = field(default_factory=dict)

    def look(self, scene: Scene) -> None:
        """Look at the store after a session: the status moves forward, nothing that is there once ever changes."""
        try:
            status, _ = scene.status()
        except Exception:  # noqa: BLE001
            self.broken.append(f"bug: a reader: {traceback.format_exc()}")
            return
        rank = RANK.get(status, OVER)
        if rank < self._rank:
            self.broken.append(f"backwards: to {status}")
        self._rank = rank
        objects = self.place.objects()
        for key, data in self._once.items():
            if objects.get(key, data) != data:
                self.broken.append(f"changed: {key}")
        fixed = (
            "/requests/",
            "/ends/",
            "/run/commits/",
            "/run/plan.json",
            "verdict",
            "cancel",
            "finalizing",
            "/files/",
        )
        for key in objects:
            if "/requests/" in key and rank != OVER:
                batch = key.rpartition("/")[2].removesuffix(".json")
                if f"{OPEN}{TENANT.name}.{batch}" not in objects:
                    self.broken.append(f"lost: nobody would find {batch}")
        self._once |= {key: data for key, data in objects.items() if any(part in key for part in fixed)}
        self._read(scene)

    def _read(self, scene: Scene) -> None:
        """Whatever result file there is has the same bytes as before."""
        _, found = scene.status()
        if found is None:
            return
        for name in (found["output_file_id"], found["error_file_id"]):
            if name is None:
                continue
            content = scene.batches().files.content(TENANT.name, name)
            data = b"".join(content.pieces)
            if len(data) != content.size_bytes:
                self.broken.append(f"size: {name} has {len(data)} bytes instead of {content.size_bytes}")
            if self._results.setdefault(name, data) != data:
                self.broken.append(f"result: {name} was read with other bytes")

    def end(self, scene: Scene, case: Case) -> None:
        """Judge the end."""
        self.look(scene)
        status, found = scene.status()
        for what in ("batch", "file"):
            if len(scene.noted(what)) != 1:
                self.broken.append(f"doubled: clients were told {sorted(scene.noted(what))}")
        objects = self.place.objects()
        for prefix in ("requests", "files"):
            there = [key for key in objects if key.startswith(f"tenants/{TENANT.name}/{prefix}/")]
            if len(there) != 1:
                self.broken.append(f"doubled: {there}")
        if found is None or RANK.get(status, OVER) != OVER or status == "failed":
            self.broken.append(f"stuck: {status} {found and found['errors']}")
            return
        if any(retry["status"] == "in_progress" for retry in found["retries"]):
            self.broken.append("stuck: a retry")
        left = [key for key in objects if key.startswith(OPEN)]
        if left:
            self.broken.append(f"left: {left}")
        cut = case.fault.action == "duplicate" and case.meanwhile in ("cancel", "cut", "late")
        if status != case.story and not (cut or status == "completed"):
            self.broken.append(f"status: {status}")
        self._rows(scene, found)

    def _rows(self, scene: Scene, found: dict[str, Any]) -> None:
        files = scene.batches().files
        rows: dict[str, list[Any]] = {"output_file_id": [], "error_file_id": []}
        for which, kept in rows.items():
            if found[which] is not None:
                data = b"".join(files.content(TENANT.name, found[which]).pieces)
                kept += [json.loads(line) for line in data.splitlines()]
        counts = found["request_counts"]
        if found["status"] == "cancelled" and not counts["total"] and not any(rows.values()):
            return  # before anybody had read the input
        ids = [row["custom_id"] for kept in rows.values() for row in kept]
        if sorted(ids) != sorted(f"r{n}" for n in range(ROWS)):
            lost = {f"r{n}" for n in range(ROWS)} - set(ids)
            self.broken.append(f"rows: {len(ids)} lines, lost {sorted(lost)}")
        asked = [row for row in rows["error_file_id"] if row["response"] is not None]
        if (counts["total"], counts["completed"], counts["failed"]) != (
            ROWS,
            len(rows["output_file_id"]),
            len(asked),
        ):
            self.broken.append(f"counts: {counts}")
        if found["status"] == "completed" and len(asked) != len(FAILING):
            self.broken.append("rows: a completed batch has others failed than fail")
        for row in rows["output_file_id"]:
            text = row["response"]["body"]["choices"][0]["message"]["content"]
            if text != answer_to(int(row["custom_id"][1:])):
                self.broken.append(f"wrong: the text of {row['custom_id']}")


def play(case: Case, place: Stored, notes: Path) -> Judge:
    """Play a case to its end and judge it."""
    scene = Scene(place.uri, notes, place.storage, case.key)
    judge = Judge(place)
    try:
        _sessions(case, scene, judge)
        if judge.sleeper is not None:
            os.kill(judge.sleeper, signal.SIGCONT)
            _, status = os.waitpid(judge.sleeper, 0)
            judge.sleeper = None
            _check_exit(status, scene, judge)
            judge.look(scene)
        _until_done("work", scene, judge)
        judge.look(scene)
        _until_done("collect", scene, judge)
        _until_done("work", scene, judge)
        judge.end(scene, case)
    except Exception:  # noqa: BLE001
        judge.broken.append(f"bug: {traceback.format_exc()}")
    finally:
        if judge.sleeper is not None:
            os.kill(judge.sleeper, signal.SIGKILL)
            os.waitpid(judge.sleeper, 0)
    return judge


def _sessions(case: Case, scene: Scene, judge: Judge) -> None:
    """Play all sessions; a process that was stopped meanwhile is the judge's `sleeper`."""
    for number, what in enumerate(STORIES[case.story]):
        done = False
        if number == case.at:
            judge.sleeper, done = _faulty(what, case, scene, judge)
            judge.look(scene)
        if not done:
            _until_done(what, scene, judge)
        judge.look(scene)


def _until_done(what: str, scene: Scene, judge: Judge) -> None:
    if what == "late":
        scene.late = True
        return
    if what == "part":  # a worker that dies after its second commit
        pid = scene.child("work", Script((Fault("put_if_absent:run-commit", 2, "kill_after"),), kind=kind))
        os.waitpid(pid, 0)
        return
    said: list[str] = []
    while not said or said[-1] != "done":
        if len(said) == TRIES:
            judge.broken.append(f"stuck: {what} does not come to its end: {said}")
            return
        said.append(scene.session(what))


def _faulty(what: str, case: Case, scene: Scene, judge: Judge) -> tuple[int | None, bool]:
    """Play a session with the fault; returns its process if that was stopped, and whether it came to its end."""
    what = "work" if what == "part" else what

    def meanwhile(failpoint: str, key: str) -> None:
        if case.meanwhile == "late":
            scene.late = True
        elif case.meanwhile not in ("cancel", "cut") or scene.noted("batch"):
            other = Scene(scene.uri, scene.notes, scene.storage, scene.key, scene.late)
            getattr(other, case.meanwhile)()

    script = Script((case.fault,), meanwhile, kind=kind)
    if not case.fault.action.startswith(("kill", "stop")):
        said = scene.session(what, script)
        judge.given += len(script.fired)
        return None, said == "done"
    pid = scene.child(what, script)
    _, status = os.waitpid(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        judge.given += 1
        return pid, False
    judge.given += os.WIFSIGNALED(status)
    _check_exit(status, scene, judge)
    return None, status == 0


def _check_exit(status: int, scene: Scene, judge: Judge) -> None:
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) not in (0, 3):
        path = scene.notes.with_suffix(".error")
        judge.broken.append(
            f"bug: a process ended with {os.WEXITSTATUS(status)}: {path.read_text() if path.exists() else ''}"
        )


def seen(folder: Path) -> dict[tuple[str, int], dict[str, int]]:
    """Return how often each session of each story passes each failpoint when nothing goes wrong."""
    found = {}
    for story, sessions in STORIES.items():
        scene = Scene(str(folder / story), folder / f"{story}.notes")
        judge = Judge(Directory(folder / story))
        for number, what in enumerate(sessions):
            if what in ("late", "part"):
                _until_done(what, scene, judge)
                continue
            script = Script(kind=kind)
            assert scene.session(what, script) == "done", (story, what)
            found[story, number] = dict(script.seen)
    # Without keys, requests leave a trace of another kind.
    scene = Scene(str(folder / "no-key"), folder / "no-key.notes", key=False)
    for number, what in enumerate(("upload", "create")):
        script = Script(kind=kind)
        assert scene.session(what, script) == "done"
        found["completed", number] |= {each: n for each, n in script.seen.items() if ":recent" in each}
        assert not judge.broken, judge.broken
    return found


def cases(counts: Mapping[tuple[str, int], Mapping[str, int]], seed: int, s3_share: float) -> list[Case]:
    """Every failpoint of every session with every action, once; the seed decides which time, and what else."""
    luck = random.Random(seed)
    found = []
    for (story, at), passed in counts.items():
        for failpoint, count in sorted(passed.items()):
            for action in ACTIONS if failpoint.split(":")[0] in WRITES else READ_ACTIONS:
                s3 = action != "kill_during" and luck.random() < s3_share
                # What sleeps cannot be told from what died: only a key makes the two requests one.
                key = action.startswith("stop") or bool(luck.getrandbits(1))
                key = not failpoint.endswith(":recent") and (key or failpoint.endswith(":idem"))
                if action.startswith("stop") and not key:
                    continue
                fault = Fault(failpoint, luck.randint(1, count), action)
                found.append(Case(story, at, fault, luck.choice(MEANWHILE), key, s3))
    luck.shuffle(found)
    # Side effects first: a small number of cases covers most of them.
    return sorted(found, key=lambda case: case.fault.failpoint.split(":")[0] not in WRITES)


def played(chosen: list[Case], folder: Path) -> list[dict[str, Any]]:
    """Play cases, one after the other, with a FaultS3 for those on S3."""
    found = []
    with FaultS3() as server:
        for number, case in enumerate(chosen):
            where = folder / f"case{number}"
            place: Stored = Bucket(server, f"case{number}") if case.s3 else Directory(where)
            began_s = time.monotonic()
            judge = play(case, place, folder / f"notes{number}")
            place.remove()
            shutil.rmtree(where, ignore_errors=True)
            took_s = time.monotonic() - began_s
            found.append({"case": str(case), "given": judge.given, "broken": judge.broken, "took_s": took_s})
    return found
