"""Formats: raygen's own and other packages', by name or in full; one that nobody reads is refused before work."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from raygen import registry
from raygen.config.source import Source
from raygen.data.sources import FORMATS, check_format, open_source
from raygen.data.sources.base import SourceReader

THEIRS = """
from raygen.data.sources.folder import TextFolderReader


class ShoutReader(TextFolderReader):
    def decode(self, data, name):
        return {"text": super().decode(data, name)["text"].upper()}
"""
JOB = """
name: shouting
source: {format: FORMAT, uri: texts}
models: {writer: {family: causal_lm, engine: echo}}
steps: [{generate: {model: writer, prompt: "{{ text }}"}}]
keep: [text]
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with another package's format, a job and its input; the current one."""
    (tmp_path / "their_formats.py").write_text(THEIRS)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("hello")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "their_formats", raising=False)
    monkeypatch.setattr(FORMATS, "__dict__", {k: v for k, v in vars(FORMATS).items() if k != "_offered"})
    return tmp_path


@pytest.mark.parametrize("name", FORMATS.own)
def test_each_of_raygens_own_is_a_reader(name: str) -> None:
    assert isinstance(open_source(Source(format=name, uri="x")), SourceReader)


def run_and_show(cli: Callable[..., Any], folder: Path, form: str) -> list[str]:
    (folder / "job.yaml").write_text(JOB.replace("FORMAT", form))
    assert cli("run", "job.yaml", "--inline").code == 0
    return [json.loads(line)["text"] for line in cli("show", "runs/shouting", "--json").out.splitlines()]


def test_a_job_names_one_in_full(cli: Callable[..., Any], theirs: Path) -> None:
    assert run_and_show(cli, theirs, '"their_formats:ShoutReader"') == ["HELLO"]


def test_another_package_offers_one(
    cli: Callable[..., Any], theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("shout", "their_formats:ShoutReader", "raygen.formats")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == "raygen.formats" else [])
    assert run_and_show(cli, theirs, "shout") == ["HELLO"]


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("parqet", "no format 'parqet'; formats: parquet, jsonl, csv, webdataset, text, images"),
        ("collections:OrderedDict", "not a subclass of raygen.data.sources.base.SourceReader"),
        ("nowhere:Reader", "'nowhere:Reader' cannot be imported: ModuleNotFoundError"),
    ],
)
def test_one_that_nobody_reads_is_refused(
    cli: Callable[..., Any], theirs: Path, form: str, words: str
) -> None:
    with pytest.raises(ValueError, match="format"):
        check_format(Source(format=form, uri="x"))
    (theirs / "job.yaml").write_text(JOB.replace("FORMAT", f'"{form}"'))
    refused = cli("run", "job.yaml", "--inline")
    assert refused.code == 2
    assert "source: " in refused.err
    assert words in refused.err
