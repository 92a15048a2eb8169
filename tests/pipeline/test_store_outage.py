"""A store that is away for a while: what was committed stays, the rest is done once it is back."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.errors import StorageError
from raygen.pipeline import run as run_module
from raygen.pipeline.run import run_job
from raygen.runs import ledger
from raygen.runs.manifest import MANIFEST_KEY
from raygen.storage import open_store
from tests.fakes.echo_jobs import echo_job


class Away:
    """Fails so many times to look at what is committed; the first look, before any work, is answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self.left = times
        self._looks = 0
        self._committed = ledger.committed_chunks
        monkeypatch.setattr(ledger, "committed_chunks", self)

    def __call__(self, store: object) -> set[int]:
        self._looks += 1
        if self._looks > 1 and self.left:
            self.left -= 1
            raise StorageError("cannot list commits/: HTTP 503")
        return self._committed(store)  # type: ignore[arg-type]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run_module, "STORE_PAUSE_S", 0.01)
    names = [str(n) for n in range(40)]
    pq.write_table(pa.table({"id": names, "text": names, "topic": names}), tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_a_store_that_comes_back_is_waited_for(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away, said = Away(monkeypatch, 5), []
    result = run_job(echo_job(source, source.parent / "run"), inline=True, say=said.append)
    assert (result.state, result.rows["accepted"], away.left) == ("finished", 40, 0)
    assert said == ["cannot list commits/: HTTP 503; asking again for 10 min"]


def test_one_that_stays_away_ends_the_run_which_resumes(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "STORE_PATIENCE_S", 0.05)
    away = Away(monkeypatch, 10_000)
    job = echo_job(source, source.parent / "run")
    with pytest.raises(StorageError, match="HTTP 503; run the same command again to resume"):
        run_job(job, inline=True)
    assert not open_store(job.output_uri).exists(MANIFEST_KEY)
    away.left = 0
    assert run_job(job, inline=True).rows["accepted"] == 40
