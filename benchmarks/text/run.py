"""Whole runs of the torch engine, from command to report, beside the engine alone: `python -m benchmarks.text.run`.

Ways: `alone`, the engine without raygen around it (`benchmarks.text.engine`); `inline`, `raygen run --inline`; `ray`,
`raygen run`. They take turns. Printed for each: seconds to the first committed chunk and to the report, output tokens a second
over all of it, and CPU seconds by kind of process (`engine`: the actor that computes; `ray`: Ray's own; `driver`: the command).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.text.engine import MODEL, measure
from benchmarks.text.job import write_job
from benchmarks.text.prompts import chat_prompts

WAYS = ("alone", "inline", "ray")
POLL_S = 0.25
BATCH = 256  # of the engine alone; raygen run has it by itself


def kind_of(process: psutil.Process, driver: int) -> str:
    """Say what a process of a run is: `driver`, `engine`, `worker` (other Ray workers), or `ray NAME` (Ray's own)."""
    if process.pid == driver:
        return "driver"
    command = process.cmdline()
    title = command[0] if command else ""
    if title.startswith("ray::"):
        return "engine" if "Generate" in title else "worker"
    script = next((Path(each).stem for each in command[1:3] if each.endswith(".py")), Path(title).name)
    return f"ray {script}"


class CPUTimes:
    """CPU seconds of a process and all that it started, by kind; what ended between two looks keeps its last figure."""

    def __init__(self, driver: int) -> None:
        self._driver = psutil.Process(driver)
        self._seconds: dict[tuple[int, float], tuple[str, float]] = {}

    def look(self) -> None:
        try:
            processes = [self._driver, *self._driver.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in processes:
            try:
                times = process.cpu_times()
                kind = kind_of(process, self._driver.pid)
                before = self._seconds.get((process.pid, process.create_time()))
            except psutil.Error:
                continue
            if before is not None and before[0] == "engine":
                kind = "engine"  # its title changes with what it does
            self._seconds[process.pid, process.create_time()] = kind, times.user + times.system

    def by_kind(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for kind, seconds in self._seconds.values():
            found[kind] = round(found.get(kind, 0.0) + seconds, 1)
        return dict(sorted(found.items(), key=lambda each: -each[1]))


def run(folder: Path, job: Path, way: str) -> dict[str, object]:
    """Run the job as a user does."""
    output = folder / f"{way}-{time.time_ns()}"
    command = [sys.executable, "-m", "raygen", "run", str(job), "--output", str(output)]
    began_s = time.monotonic()
    with (folder / "log").open("w") as log:
        driver = subprocess.Popen([*command, *["--inline"] * (way == "inline")], stdout=log, stderr=log)
        cpu, first_s = CPUTimes(driver.pid), None
        while driver.poll() is None:
            if first_s is None and any((output / "commits").glob("*")):
                first_s = time.monotonic() - began_s
            cpu.look()
            time.sleep(POLL_S)
    if driver.returncode:
        raise SystemExit((folder / "log").read_text()[-2000:])
    whole_s = time.monotonic() - began_s
    tokens = json.loads((output / "manifest.json").read_bytes())["usage"]["output_tokens"]
    return {
        "tokens_per_s": round(tokens / whole_s, 1), "whole_s": round(whole_s, 1), "first_commit_s": round(first_s or 0.0, 1),
        "tokens": tokens, "cpu_s": cpu.by_kind(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--chunk-rows", type=int, default=8)
    given = parser.parse_args()
    from raygen.models.fetch.reference import resolve

    path = str(resolve(MODEL).path)
    found: dict[str, list[dict[str, object]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompts = chat_prompts(given.rows)
        sampling = {"temperature": 0.0, "max_tokens": prompts[0].max_tokens}
        job = write_job(folder, "text-run", prompts, sampling, dtype=given.dtype, chunk_rows=given.chunk_rows)
        for _ in range(given.repeats):
            for way in given.ways:
                if way == "alone":
                    figures: dict[str, object] = dict(
                        measure("torch", path, given.dtype, "chat", given.rows, BATCH)
                    )
                else:
                    figures = run(folder, job, way)
                found.setdefault(way, []).append(figures)
                print(f"{way}:", json.dumps(figures), flush=True)
    print(json.dumps({"benchmark": "text_run", "rows": given.rows, **found}))


if __name__ == "__main__":
    main()
