"""Submit a run to a Ray cluster as a Ray job: the working directory travels along, the logs come back."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from raygen.errors import ConfigError, RaygenError

EXCLUDED = [
    "/.git/",
    "/.venv/",
    "/runs/",
    "__pycache__/",
    "*.pyc",
    ".mypy_cache/",
    ".ruff_cache/",
    ".pytest_cache/",
    ".hypothesis/",
]


def submit_job(
    job: Path,
    arguments: Sequence[str],
    address: str,
    working_dir: Path,
    *,
    wait: bool,
    say: Callable[[str], None],
) -> int:
    """Submit `raygen run JOB ARGUMENTS`; with `wait`, follow its logs and return its exit code.

    Raises:
        ConfigError: the job file is not below the working directory, or no job server answers at `address`.
    """
    working_dir = working_dir.resolve()
    try:
        inside = job.resolve().relative_to(working_dir)
    except ValueError:
        raise ConfigError(
            f"{job}: not below {working_dir}; name the directory to send with --working-dir"
        ) from None
    if not job.is_file():
        raise ConfigError(f"{job}: no such file")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(
            f"--address {address!r}: expected the job server's URL, such as http://127.0.0.1:8265"
        )
    from ray.job_submission import JobStatus, JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise ConfigError(
            f"--address {address}: no Ray job server answers there: {str(error).splitlines()[0]}"
        ) from None
    # An exit code other than 0 makes Ray call a job failed; the last line of its log says which code it was.
    command = f"python -m raygen.cli run {shlex.quote(str(inside))} {shlex.join(arguments)}"
    command += "; code=$?; echo raygen-exit-code=$code; exit $code"
    submission = client.submit_job(
        entrypoint=f"sh -c {shlex.quote(command)}",
        runtime_env={"working_dir": str(working_dir), "excludes": EXCLUDED},
    )
    say(f"submitted {submission} to {address}")
    if not wait:
        return 0
    last = ""

    async def follow() -> None:
        nonlocal last
        async for text in client.tail_job_logs(submission):
            print(text, end="", flush=True)
            last = (last + text)[-500:]

    asyncio.run(follow())
    status = client.get_job_status(submission)
    if "raygen-exit-code=" in last:
        return int(last.rsplit("raygen-exit-code=", 1)[1].split()[0])
    if status == JobStatus.SUCCEEDED:
        return 0
    raise RaygenError(f"{submission} ended as {status}: {client.get_job_info(submission).message}")
