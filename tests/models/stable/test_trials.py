"""Findings are kept a machine, whoever writes at the same time and whatever lies in their place."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from raygen.models.stable import trials
from raygen.models.stable.trials import Trials, machine_trials


def test_another_process_finds_what_was_found(tmp_path: Path):
    path = tmp_path / "deep" / "machine.json"
    mine, others = Trials(path), Trials(path)
    mine.put("linear", "16", "abc")
    mine.put("linear", "32", "abd")
    others.put("linear", "48", "abe")
    mine.save()
    others.save()
    mine.save()
    again = Trials(path)
    assert [again.get("linear", rows) for rows in ("16", "32", "48", "64")] == ["abc", "abd", "abe", None]
    assert again.get("conv1d", "16") is None
    assert [each.name for each in path.parent.iterdir() if each.suffix not in (".json", ".lock")] == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\x00", b"[]", b'"a"', b"{}", b'{"sha256": "0", "found": {"linear": {"16": "wrong"}}}'],
)
def test_a_broken_file_counts_as_empty_and_is_mended(tmp_path: Path, content: bytes):
    path = tmp_path / "machine.json"
    path.write_bytes(content)
    found = Trials(path)
    assert found.get("linear", "16") is None
    found.put("linear", "16", "abc")
    found.save()
    assert Trials(path).get("linear", "16") == "abc"


def test_a_flipped_bit_is_noticed(tmp_path: Path):
    path = tmp_path / "machine.json"
    found = Trials(path)
    found.put("linear", "16", "abc")
    found.save()
    path.write_text(path.read_text().replace("abc", "abb"))
    assert Trials(path).get("linear", "16") is None


def test_where_nothing_can_be_written_it_is_known_to_this_process_only(tmp_path: Path):
    (tmp_path / "file").write_text("")
    found = Trials(tmp_path / "file" / "machine.json")
    found.put("linear", "16", "abc")
    found.save()
    assert found.get("linear", "16") == "abc"


def test_many_threads_and_writers_lose_nothing(tmp_path: Path):
    path = tmp_path / "machine.json"
    writers = [Trials(path) for _ in range(4)]

    def write(number: int) -> None:
        for rows in range(20):
            writers[number % 4].put(f"s{number}", str(rows), "a")
            writers[number % 4].save()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = json.loads(path.read_text())["found"]
    assert {subject: len(findings) for subject, findings in kept.items()} == {f"s{n}": 20 for n in range(8)}


def test_what_computes_otherwise_has_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAYGEN_TRIALS", str(tmp_path))
    paths = {machine_trials()._path}
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    paths.add(machine_trials()._path)
    monkeypatch.setattr(trials, "_cpu", lambda: {"model name": "another"})
    paths.add(machine_trials()._path)
    assert len(paths) == 3
    assert {path.parent for path in paths} == {tmp_path}
    assert machine_trials() is machine_trials()


def test_they_lie_with_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAYGEN_TRIALS")
    monkeypatch.setenv("RAYGEN_CACHE", str(tmp_path))
    assert machine_trials()._path.parent == tmp_path / "trials"
