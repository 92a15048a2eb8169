"""The OpenAI engine alone against the mock endpoint, on one machine: `python -m benchmarks.endpoint.engine`.

Modes: `64` and `256` (that many in flight), `errors` (1% of the prompts get HTTP 400), `faults` (5% of the
answers are HTTP 500 or malformed), `refusing` (429 above 32 in flight). The mock has a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.endpoint.mock import mock_text
from raygen.config.model import ModelSpec
from raygen.config.sampling import Sampling
from raygen.engines.openai.engine import OpenAIEngine
from raygen.engines.requests import GenerateRequest
from raygen.errors import RowError
from raygen.models.resolved import ResolvedModel

LATENCY_S = 0.37
MODES: dict[str, tuple[int, list[str]]] = {  # concurrency, the mock's options
    "64": (64, []),
    "256": (256, []),
    "errors": (64, ["--error-rate", "0.01"]),
    "faults": (64, ["--fail-5xx-rate", "0.025", "--malformed-rate", "0.025"]),
    "refusing": (64, ["--refuse-above", "32"]),
}


@contextmanager
def mock_process(options: list[str]) -> Iterator[str]:
    """Run the mock in a process of its own; yields its base URL."""
    command = [sys.executable, "-m", "benchmarks.endpoint.mock", "--latency-s", str(LATENCY_S), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def steady_rate(times: list[float]) -> float:
    """Return the rows a second of all but the first and the last tenth: the slope of completions.

    Completions come in waves: a count between two instants would depend on where in a wave they fall.
    Hence least squares.
    """
    times = sorted(times)
    middle = times[len(times) // 10 : len(times) - len(times) // 10]
    mean_t, mean_i = sum(middle) / len(middle), (len(middle) - 1) / 2
    covariance = sum((t - mean_t) * (i - mean_i) for i, t in enumerate(middle))
    return covariance / sum((t - mean_t) ** 2 for t in middle)


async def drive(url: str, concurrency: int, rows: int) -> dict[str, float]:
    spec = ModelSpec(
        family="causal_lm", engine="openai", ref="mock", options={"base_url": url, "concurrency": concurrency}
    )
    engine = OpenAIEngine(ResolvedModel("mock", spec, None, "mock"))
    await engine.start()
    times: list[float] = []
    outcomes: Counter[str] = Counter()

    async def one(number: int) -> None:
        prompt = f"Write a sentence about subject number {number} of the list."
        request = GenerateRequest(str(number), [{"role": "user", "content": prompt}], Sampling(), [number])
        try:
            result = await engine.generate(request)
            outcomes["right" if result.samples[0].text == mock_text(prompt, number, 0) else "wrong"] += 1
        except RowError as error:
            outcomes[error.code] += 1
        times.append(time.perf_counter())

    began, cpu_began = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one(number) for number in range(rows)))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    await engine.close()
    return {
        "rows_per_s_steady": round(steady_rate(times), 1),
        "rows_per_s_whole": round(rows / wall, 1),
        "wall_s": round(wall, 2),
        "cpu_ms_per_row": round(1000 * cpu / rows, 3),
        **{f"rows_{code}": count for code, count in sorted(outcomes.items())},
        **engine.stats.extra,
        "limit_at_end": engine.stats.limit,
    }


def run(main: Coroutine[Any, Any, dict[str, float]], loop: str) -> dict[str, float]:
    if loop == "uvloop":
        import uvloop

        return uvloop.run(main)
    return asyncio.run(main)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "modes", nargs="*", metavar="MODE", help=f"of {', '.join(MODES)}; all if none is given"
    )
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument(
        "--loop", choices=["asyncio", "uvloop"], default="asyncio", help="Ray's actors use uvloop"
    )
    parser.add_argument("--profile", action="store_true", help="print where the CPU time went")
    given = parser.parse_args()
    unknown = set(given.modes) - MODES.keys()
    if unknown:
        parser.error(f"no mode {', '.join(sorted(unknown))}; modes: {', '.join(MODES)}")
    figures = {}
    for mode in given.modes or MODES:
        concurrency, options = MODES[mode]
        profile = cProfile.Profile()
        with mock_process(options) as url:
            if given.profile:
                profile.enable()
            figures[mode] = run(drive(url, concurrency, given.rows), given.loop)
            profile.disable()
        print(
            f"{mode:9}", "  ".join(f"{name} {value:g}" for name, value in figures[mode].items()), flush=True
        )
        if given.profile:
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    print(json.dumps({"benchmark": "openai_engine", "rows": given.rows, "loop": given.loop, **figures}))


if __name__ == "__main__":
    main()
