"""Killed runs end as whole ones do, on SmolLM2: `python -m benchmarks.text.resumed [--rows 256] [--kills 2] [--inline]`.

Half of the rows are decoded greedily, half are sampled, two samples each, with log-probabilities. Each half is run once to
its end, and once killed with SIGKILL as chunks are committed, and resumed; then verified with a full replay. Printed: rows
whose samples differ in anything (text, finish reason, seeds, bits of the log-probabilities), and what `verify` said.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import raygen
from benchmarks.text.job import write_job
from benchmarks.text.prompts import WORKLOADS

TEMPERATURES = (0.0, 0.8)


def job_of(folder: Path, rows: int, temperature: float, max_tokens: int) -> Path:
    """Write the prompts of one half and its job; returns the job's path."""
    asked = WORKLOADS["chat"][0](2 * rows)[int(temperature > 0) :: 2]
    sampling = {"temperature": temperature, "max_tokens": max_tokens, "logprobs": 1}
    return write_job(folder, f"t{temperature}".replace(".", "-"), asked, sampling, samples=2)


def run(job: Path, output: Path, inline: bool, kill_at: int | None = None) -> bool:
    """Run a job, or go on with it; killed once so many chunks are committed. Returns whether it came to its end."""
    command = [sys.executable, "-m", "raygen", "run", str(job), "--output", str(output), "--quiet"]
    with (output.parent / "stderr.txt").open("w+") as errors:
        process = subprocess.Popen(
            [*command, *(["--inline"] if inline else [])], stdout=subprocess.DEVNULL, stderr=errors
        )
        while process.poll() is None:
            if kill_at is not None and committed(output) >= kill_at:
                process.kill()
            time.sleep(0.05)
        if process.returncode not in (0, -9):
            errors.seek(0)
            raise SystemExit(f"exit code {process.returncode}: {errors.read()[-2000:]}")
    return process.returncode == 0


def committed(output: Path) -> int:
    return len(list((output / "commits").glob("*.json")))


def samples_of(output: Path) -> dict[str, Any]:
    """Return every row's samples: all that the engine said of them, and the row's status."""
    rows = raygen.open_run(str(output)).to_arrow().to_pylist()
    return {row["row_id"]: (row["status"], repr(row["samples"])) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--max-tokens", type=int, default=32)
    parser.add_argument("--kills", type=int, default=2, help="of each half's run")
    parser.add_argument("--inline", action="store_true", help="without Ray")
    given = parser.parse_args()
    differing: list[str] = []
    kills, verdicts = 0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for temperature in TEMPERATURES:
            job = job_of(folder, given.rows // 2, temperature, given.max_tokens)
            whole, broken = folder / f"{job.stem}-whole", folder / f"{job.stem}-broken"
            run(job, whole, given.inline)
            chunks = committed(whole)
            for kill in range(given.kills):
                kills += not run(job, broken, given.inline, (kill + 1) * chunks // (given.kills + 1))
            run(job, broken, given.inline)
            first, second = samples_of(whole), samples_of(broken)
            differing += [f"{job.stem} {row}" for row in first | second if first.get(row) != second.get(row)]
            command = [sys.executable, "-m", "raygen", "verify", str(broken), "--replay", "100%"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            verdicts.append(done.stdout.strip().splitlines()[-1] if done.stdout else done.stderr[-300:])
            print(f"{job.stem}: {len(first)} rows, {kills} kills so far; {verdicts[-1]}", flush=True)
    print(
        json.dumps({"benchmark": "text_resumed", "rows": given.rows, "kills": kills, "differing": differing})
    )


if __name__ == "__main__":
    main()
