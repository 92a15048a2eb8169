"""Submit a run to a Ray cluster as a Ray job: the working directory travels along, the logs come back."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raygen.errors import ConfigError, RaygenError
from raygen.messages import Say
from raygen.program.job import Job, load_job

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
POLL_S = 1.0


def submit_job(
    job: Path,
    arguments: Sequence[str],
    address: str,
    working_dir: Path,
    *,
    wait: bool,
    say: Say,
) -> int:
    """Submit `raygen run JOB ARGUMENTS`; with `wait`, follow its logs and return its exit code.

    Raises:
        ConfigError: the job file or its output would not work there, no job server answers at `address`, or it wants
            another token. RaygenError: the job ended without an exit code.
    """
    working_dir = working_dir.resolve()
    try:
        inside = job.resolve().relative_to(working_dir)
    except ValueError:
        raise ConfigError(
            f"{job}: not below {working_dir}; name the directory to send with --working-dir"
        ) from None
    _check_output(_effective(job, arguments))
    client = _client(address)
    submission = _submit(client, ["python", "-m", "raygen", "run", str(inside), *arguments], working_dir)
    try:
        say(f"submitted {submission} to {address}")
        return _follow(client, submission, say) if wait else 0
    except KeyboardInterrupt:
        say(f"{submission} goes on; to end it: ray job stop --address {address} {submission}")
        raise


def _effective(job: Path, arguments: Sequence[str]) -> Job:
    """Return the job as `raygen run` will see it. Raises ConfigError: better here than from the cluster."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--input")
    parser.add_argument("--output")
    parser.add_argument("--max-rows", type=int)
    try:
        given, _ = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ConfigError(str(error)) from None
    return load_job(job, given.set, input_uri=given.input, output_uri=given.output, max_rows=given.max_rows)


def _check_output(job: Job) -> None:
    if "://" not in job.output_uri and not Path(job.output_uri).is_absolute():
        raise ConfigError(
            f"output {job.output_uri!r}: on the cluster this is a temporary directory of one node, which vanishes; "
            "give --output s3://bucket/prefix, or an absolute path that all nodes share"
        )


def _client(address: str) -> Any:
    if not address.startswith(("http://", "https://")):
        raise ConfigError(
            f"--address {address!r}: expected the job server's URL, such as http://127.0.0.1:8265"
        )
    kept = os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")
    if "RAY_AUTH_TOKEN" in os.environ or Path(kept).expanduser().is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # before Ray is imported
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for module in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
        logging.getLogger(module).setLevel(logging.WARNING)  # they tell every step on standard error
    try:
        return JobSubmissionClient(address)
    except AuthenticationError as error:
        raise ConfigError(
            f"--address {address}: the cluster does not let you in ({error.message.splitlines()[0]}); "
            "put its token into RAY_AUTH_TOKEN or ~/.ray/auth_token"
        ) from None
    except (ConnectionError, RuntimeError) as error:
        raise ConfigError(
            f"--address {address}: no Ray job server answers there: {str(error).splitlines()[0]}"
        ) from None


def _submit(client: Any, command: list[str], working_dir: Path) -> str:
    try:
        submission: str = client.submit_job(
            entrypoint=shlex.join(command),
            runtime_env={"working_dir": str(working_dir), "excludes": EXCLUDED},
        )
    except (ValueError, RuntimeError) as error:  # a directory that is too large, a server that refuses
        raise ConfigError(f"{working_dir}: not submitted: {str(error).splitlines()[0]}") from None
    return submission


def _follow(client: Any, submission: str, say: Say) -> int:
    """Pass on the job's log until it ends, then return its exit code."""

    async def log() -> None:
        async for text in client.tail_job_logs(submission):
            print(text, end="", flush=True)

    try:
        asyncio.run(log())
    except (OSError, RuntimeError) as error:
        say(f"the log broke off ({error}); waiting for {submission} to end")
    while not (status := client.get_job_status(submission)).is_terminal():
        time.sleep(POLL_S)
    info = client.get_job_info(submission)
    if info.driver_exit_code is None or info.driver_exit_code < 0:  # by a signal, or before it began
        raise RaygenError(f"{submission} ended as {status}: {info.message}")
    return int(info.driver_exit_code)
