"""How the main job scales with its input: echo engine, Parquet in and out, on Ray.

    python -m benchmarks.scale.rows [--rows 100000 1000000] [--pairs 1] [--chunks 50000]

Prints rows/s end to end (from command to finished run), the cost a row, the driver's peak memory, and how soon a
resumed plan of many chunks commits new work. The last line has the figures.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

CHUNK_ROWS = 5000
# Runs the command line and reports this process's own peak memory and CPU time at its end.
DRIVER = """
import atexit, resource, sys
def report():
    own = resource.getrusage(resource.RUSAGE_SELF)
    print(f"driver-peak-mb={own.ru_maxrss / 1024:.0f} driver-cpu-s={own.ru_utime + own.ru_stime:.1f}", file=sys.stderr)
atexit.register(report)
from raygen.cli.app import main
main()
"""


def write_input(path: Path, rows: int) -> None:
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("topic", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, 100_000):
            numbers = range(start, min(rows, start + 100_000))
            columns = [
                [f"row-{n}" for n in numbers],
                [f"the passage with number {n} says a few plain words about its topic" for n in numbers],
                [f"topic-{n % 97}" for n in numbers],
            ]
            writer.write_table(pa.table(columns, schema=schema))


def write_job(path: Path, source: Path, chunk_rows: int) -> None:
    job = {
        "name": "scale",
        "source": {"format": "parquet", "uri": str(source), "key": "id"},
        "models": {"writer": {"family": "causal_lm", "engine": "echo"}},
        "steps": [{"generate": {"model": "writer", "prompt": "Write about this:\n{{ text }}"}}],
        "keep": ["topic"],
        "sink": {"chunk_rows": chunk_rows},
        "execution": {"replicas": [1, 2]},
    }
    path.write_text(yaml.safe_dump(job))


def run(*arguments: str) -> tuple[float, dict[str, float]]:
    """Run `raygen ARGUMENTS` in a process of its own; returns (wall seconds, figures)."""
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *arguments], capture_output=True, text=True, check=False
    )
    wall_s = time.monotonic() - began_s
    if done.returncode not in (0, 130):
        raise SystemExit(f"raygen {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return wall_s, {key: float(value) for key, value in re.findall(r"(driver-[a-z-]+)=([\d.]+)", done.stderr)}


def scale(folder: Path, sizes: list[int], pairs: int) -> dict[int, dict[str, float]]:
    figures: dict[int, list[dict[str, float]]] = {rows: [] for rows in sizes}
    for rows in sizes:
        write_input(folder / f"{rows}.parquet", rows)
        write_job(folder / f"{rows}.yaml", folder / f"{rows}.parquet", CHUNK_ROWS)
    for pair in range(pairs):
        for rows in sizes:
            output = folder / f"run-{rows}-{pair}"
            wall_s, driver = run("run", str(folder / f"{rows}.yaml"), "--output", str(output))
            one = {"wall_s": wall_s, "rows_per_s": rows / wall_s, "us_per_row": wall_s / rows * 1e6, **driver}
            figures[rows].append(one)
            print(
                f"{rows:,} rows: " + ", ".join(f"{key} {value:,.1f}" for key, value in one.items()),
                flush=True,
            )
    return {
        rows: {key: statistics.median(one[key] for one in each) for key in each[0]}
        for rows, each in figures.items()
    }


def resume(folder: Path, chunks: int) -> float:
    """Commit a part of a plan of many chunks, then measure how soon a resume commits the next one."""
    write_input(folder / "many.parquet", chunks)
    write_job(folder / "many.yaml", folder / "many.parquet", 1)
    output = folder / "run-many"
    run("run", str(folder / "many.yaml"), "--output", str(output), "--inline", "--budget-s", "45")
    before = len(os.listdir(output / "commits"))
    began_s = time.time()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "raygen",
            "run",
            str(folder / "many.yaml"),
            "--output",
            str(output),
            "--budget-s",
            "30",
        ],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while len(os.listdir(output / "commits")) == before and process.poll() is None:
        time.sleep(0.05)
    first_s = time.time() - began_s
    process.wait()
    print(f"{chunks:,} chunks, {before:,} committed: a resume's first new commit after {first_s:.1f} s")
    return first_s


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--chunks", type=int, default=50_000, help="0: leave the resume out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = scale(folder, arguments.rows, arguments.pairs)
        first_s = resume(folder, arguments.chunks) if arguments.chunks else None
    small, large = found[arguments.rows[0]], found[arguments.rows[-1]]
    print(
        f"{arguments.rows[-1]:,} rows: {large['rows_per_s']:,.0f} rows/s; "
        f"cost a row {large['us_per_row'] / small['us_per_row']:.2f}x that of {arguments.rows[0]:,}; "
        f"driver memory +{large['driver-peak-mb'] - small['driver-peak-mb']:.0f} MB"
        + (f"; resume of {arguments.chunks:,} chunks: {first_s:.1f} s" if first_s is not None else "")
    )


if __name__ == "__main__":
    main()
