"""Shared fixtures: a small source, and the command line in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

# Never the user's own account or cache, whatever the machine has.
os.environ.setdefault("RAY_AUTH_MODE", "token")
TRIALS = TemporaryDirectory()
os.environ["RAYGEN_TRIALS"] = TRIALS.name


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run `raygen ARGUMENTS` in this process."""

    def run(*arguments: object) -> Result:
        from raygen.cli.app import main

        monkeypatch.setattr("sys.argv", ["raygen", *map(str, arguments)])
        code = 0
        capfd.readouterr()
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capfd.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def passages(tmp_path: Path) -> Path:
    """100 rows: id, text, topic."""
    path = tmp_path / "passages.parquet"
    pq.write_table(
        pa.table(
            {
                "id": [f"p{n}" for n in range(100)],
                "text": [f"passage {n} has some words" for n in range(100)],
                "topic": [f"t{n % 5}" for n in range(100)],
            }
        ),
        path,
    )
    return path


@pytest.fixture
def quick_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without the wait, and nothing of this machine's own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("raygen.engines.openai.backoff.BASE_S", 0.001)
