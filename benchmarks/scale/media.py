"""Memory of a worker while one chunk of media is generated: it must not grow with the chunk.

python -m benchmarks.scale.media 4 40 400    # samples of 1 MiB in one chunk, each number in a process of its own
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from raygen.pipeline.run import run_job
from raygen.program.job import Job

MIB = 2**20


def measure(samples: int) -> str:
    """Return a line of figures about a run with one chunk of so many samples of 1 MiB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [{"id": f"r{n}", "text": f"a picture {n}"} for n in range(samples)]
        (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        options = {"media_bytes": MIB, "concurrency": 8}
        job = {
            "name": "media",
            "source": {"format": "jsonl", "uri": str(folder / "rows.jsonl"), "key": "id"},
            "models": {"m": {"family": "diffusion", "engine": "echo", "options": options}},
            "steps": [{"generate": {"model": "m", "prompt": "{{ text }}", "render": {}}}],
            "sink": {"chunk_rows": samples},
            "execution": {"chunks_in_flight": 1},
            "output": str(folder / "run"),
        }
        run_job(Job.model_validate(job), inline=True)
        stored = [path.stat().st_size for path in (folder / "run" / "data").iterdir()]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{samples} samples: {sum(stored) / MIB:.0f} MiB in {len(stored)} objects, peak memory {peak:.0f} MiB"
    )


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(measure(int(sys.argv[1])))
    else:
        for number in sys.argv[1:]:
            subprocess.run([sys.executable, "-m", "benchmarks.scale.media", number], check=True)
