"""Whole runs over an OpenAI-compatible endpoint: from command to finished run, inline and on Ray.

    python -m benchmarks.endpoint.run [--rows 2000] [--modes 64 256 errors refusing] [--ways inline ray]

The endpoint is the mock, in a process of its own on the same machine. Prints wall time, steady rows/s, CPU time a row
(of all of raygen's processes), outcomes and refusals; the last line has the figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import yaml

from benchmarks.endpoint.engine import MODES, mock_process
from benchmarks.scale.rows import write_input


def steady_rows_per_s(points: list[list[float]], rows: int) -> float:
    """Slope of the middle 80% of the rows, by least squares."""
    middle = [(t, done) for t, done, *_ in points if 0.1 * rows <= done <= 0.9 * rows]
    if len(middle) < 2:
        return float("nan")
    mean_t = sum(t for t, _ in middle) / len(middle)
    mean_done = sum(done for _, done in middle) / len(middle)
    spread = sum((t - mean_t) ** 2 for t, _ in middle)
    return sum((t - mean_t) * (done - mean_done) for t, done in middle) / spread


def one(folder: Path, mode: str, way: str, rows: int) -> dict[str, float]:
    concurrency, options = MODES[mode]
    job = {
        "name": f"openai-{mode}",
        "source": {"format": "parquet", "uri": str(folder / "in.parquet"), "key": "id"},
        "models": {"writer": {"family": "causal_lm", "engine": "openai", "ref": "mock"}},
        "steps": [{"generate": {"model": "writer", "prompt": "{{ text }}", "sampling": {"max_tokens": 16}}}],
        "keep": ["topic"],
    }
    output = folder / f"{mode}-{way}-{time.time_ns()}"
    with mock_process(options) as url:
        job["models"]["writer"]["options"] = {"base_url": url, "concurrency": concurrency}  # type: ignore[index]
        (folder / "job.yaml").write_text(yaml.safe_dump(job))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began_s = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "raygen",
            "run",
            str(folder / "job.yaml"),
            "--output",
            str(output),
        ]
        done = subprocess.run(
            [*command, *(["--inline"] if way == "inline" else [])],
            capture_output=True,
            text=True,
            check=False,
        )
        wall_s = time.monotonic() - began_s
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as answer:
            refused = json.loads(answer.read()).get("refused", float("nan"))
    if done.returncode not in (0, 3):
        raise SystemExit(f"exit code {done.returncode}: {done.stderr[-2000:]}")
    session = json.loads(sorted((output / "progress").glob("*.json"))[-1].read_text())
    counts = json.loads((output / "manifest.json").read_text())["rows"]
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall_s": wall_s,
        "steady_rows_per_s": steady_rows_per_s(session["points"], rows),
        "cpu_ms_per_row": cpu_s / rows * 1000,
        "accepted": counts["accepted"],
        "failed": counts["failed"],
        "refused": refused,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument(
        "--modes", nargs="+", default=["64", "256", "errors", "refusing"], choices=list(MODES)
    )
    parser.add_argument("--ways", nargs="+", default=["inline", "ray"], choices=["inline", "ray"])
    arguments = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_input(folder / "in.parquet", arguments.rows)
        for mode in arguments.modes:
            for way in arguments.ways:
                figures = one(folder, mode, way, arguments.rows)
                lines.append(
                    f"{mode} {way}: " + ", ".join(f"{key} {value:,.2f}" for key, value in figures.items())
                )
                print(lines[-1], flush=True)
    print("; ".join(lines))


if __name__ == "__main__":
    main()
