"""Workers: two processes that share the cases of the matrix, each with a directory and a FaultS3 of its own."""

from __future__ import annotations

import json
import os
import re
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from tests.exactly_once.failpoints import Script
from tests.exactly_once.matrix import Case, judge
from tests.exactly_once.oracle import Expected
from tests.exactly_once.places import Bucket, Directory, Place
from tests.exactly_once.sessions import Bench, write_source
from tests.fakes.fault_s3 import FaultS3

PROCESSES = 2
RESUMED_AT = 3  # chunks that are committed when a `resume` begins


@dataclass(frozen=True)
class Templates:
    """What the cases begin with, and how often a session without a fault passes each failpoint then."""

    source: Path
    before: str  # a finished run, for those that reuse one
    expected: Expected
    objects: Mapping[str, Mapping[str, bytes]]  # by kind of session
    seen: Mapping[str, Mapping[str, int]]

    def todo(self, what: str) -> int:
        """How many chunks a session has to generate."""
        failing = sum(any(row.fails for row in chunk) for chunk in self.expected.chunks)
        whole = len(self.expected.chunks)
        chunks = {"run": whole, "reuse": whole, "resume": whole - RESUMED_AT, "retry": failing, "collect": 0}
        return chunks[what]

    def bench(self, place: Place, notes: Path) -> Bench:
        return Bench(
            place.uri,
            self.source,
            notes,
            place.storage,
            self.expected.refined,
            self.before,
            self.expected.media_bytes > 0,
        )


def make_templates(folder: Path, refined: bool = False, media: bool = False) -> Templates:
    """Play each kind of session once, without a fault.

    Args:
        refined: with the program of three steps and two models; its runs are also run again, reusing the first.
    """
    expected = write_source(folder / "source", refined, media)
    place, before = Directory(folder / "template"), Directory(folder / "before")
    bench = Bench(
        place.uri, folder / "source", folder / "notes", refined=refined, reuse=before.uri, media=media
    )
    objects: dict[str, dict[str, bytes]] = {"run": {}}
    bench.session("run")
    if refined or media:
        before.fill(place.objects())
        objects["reuse"] = {}
    finished = place.objects()
    objects["retry"] = finished
    objects["resume"] = {
        key: data
        for key, data in finished.items()
        if key.startswith(("data/", "progress/", "plan"))
        or (key.startswith("commits/") and int(key[8:16]) < RESUMED_AT)
    }
    bench.session("retry")
    objects["collect"] = place.objects()
    for key, data in place.objects().items():
        if "data/0000000" in key:  # as if each chunk had had a second attempt
            objects["collect"][re.sub("-[0-9a-f]{16}", f"-{'f' * 16}", key)] = data
    seen = {}
    for what, start in objects.items():
        place.remove()
        place.fill(start)
        bench.session(what, script := Script())
        seen[what] = dict(script.seen)
    place.remove()
    return Templates(folder / "source", before.uri, expected, objects, seen)


def play(cases: Sequence[Case], templates: Templates, folder: Path) -> list[dict[str, object]]:
    """Play the cases in PROCESSES processes; returns what was found of each."""
    pids = []
    for number in range(PROCESSES):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                _work(cases[number::PROCESSES], templates, folder / f"worker{number}")
                code = 0
            except BaseException:  # noqa: BLE001 - told to the parent
                (folder / f"worker{number}.error").write_text(traceback.format_exc())
            finally:
                os._exit(code)
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    errors = [path.read_text() for path in sorted(folder.glob("worker*.error"))]
    assert codes == [0] * PROCESSES, f"workers ended with {codes}: {errors}"
    found = [json.loads(line) for path in sorted(folder.glob("worker*.found")) for line in path.open()]
    assert len(found) == len(cases)
    return found


def _work(cases: Sequence[Case], templates: Templates, folder: Path) -> None:
    folder.mkdir(parents=True)
    pa.set_cpu_count(1)  # tables of six rows: threads only get in each other's way
    with FaultS3() as server, folder.with_suffix(".found").open("w") as found:
        os.environ["AWS_ENDPOINT_URL"] = server.endpoint_url  # `raygen retry` knows no other way
        for number, case in enumerate(cases):
            place: Place = Bucket(server, f"run{number}") if case.s3 else Directory(folder / f"run{number}")
            place.fill(dict(templates.objects[case.what]))
            bench = templates.bench(place, folder / f"notes{number}")
            began_s = time.monotonic()
            judged = judge(case, place, bench, templates.expected, templates.todo(case.what))
            place.remove()
            took_s = time.monotonic() - began_s
            found.write(json.dumps({"case": str(case), "took_s": took_s, **asdict(judged)}) + "\n")
            found.flush()
