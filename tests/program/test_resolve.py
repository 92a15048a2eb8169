"""A job's models and adapters: resolved once, pinned by digest, found again on each node."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from raygen.errors import EngineError, ModelReferenceError
from raygen.models.resolved import ResolvedAdapter
from raygen.program.job import Job
from raygen.program.resolve import on_this_node, pinned, resolve_models
from tests.fakes.echo_jobs import echo_job

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def folder_of(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_text("{}")
    return path


@pytest.fixture
def job(tmp_path: Path) -> Job:
    base = folder_of(tmp_path / "base", "config.json", "model.safetensors")
    adapters = {name: str(folder_of(tmp_path / name, *ADAPTER_FILES)) for name in ("de", "fr")}
    (tmp_path / "fr" / ADAPTER_FILES[1]).write_text("{ }")
    model = {"family": "causal_lm", "engine": "torch", "ref": str(base), "adapters": adapters}
    return echo_job("in", "out", models={"writer": model})


def test_adapters_are_resolved_and_pinned(job: Job) -> None:
    models = resolve_models(job)
    kept = pinned(models)["writer"]["adapters"]
    assert list(kept) == ["de", "fr"]
    assert kept["de"] != kept["fr"]
    assert all(digest.startswith("sha256:") for digest in kept.values())
    assert on_this_node(models["writer"], job.source.storage) == models["writer"]


def test_a_model_without_adapters_is_pinned_as_ever(job: Job) -> None:
    spec = job.models["writer"].model_copy(update={"adapters": {}})
    plain = job.model_copy(update={"models": {"writer": spec}})
    assert set(pinned(resolve_models(plain))["writer"]) == {"ref", "digest"}


def test_another_node_must_find_the_same_adapter(job: Job, tmp_path: Path) -> None:
    model = resolve_models(job)["writer"]
    elsewhere = ResolvedAdapter(model.adapters["de"].ref, "/not/here", model.adapters["de"].digest)
    moved = replace(model, adapters={**model.adapters, "de": elsewhere})
    assert on_this_node(moved, job.source.storage) == model
    (tmp_path / "de" / ADAPTER_FILES[0]).write_text('{"r": 2}')
    with pytest.raises(EngineError, match=r"adapter 'de' of model 'writer': this node finds weights"):
        on_this_node(moved, job.source.storage)


def test_a_model_is_no_adapter_and_an_adapter_no_model(job: Job, tmp_path: Path) -> None:
    (tmp_path / "de" / ADAPTER_FILES[0]).rename(tmp_path / "de" / "config.json")
    with pytest.raises(ModelReferenceError, match=r"models\.writer\.adapters\.de: .* is no LoRA adapter"):
        resolve_models(job)
    shutil.copytree(tmp_path / "fr", tmp_path / "base", dirs_exist_ok=True)
    (tmp_path / "base" / "config.json").unlink()
    with pytest.raises(ModelReferenceError, match=r"models\.writer\.ref: .* is a LoRA adapter"):
        resolve_models(job)


def test_a_step_names_an_adapter_that_the_model_has(job: Job) -> None:
    def with_adapter(name: str) -> Job:
        raw = job.model_dump()
        raw["steps"][0]["generate"]["adapter"] = name
        return Job.model_validate(raw)

    for known in ("de", "{{ language }}", ""):
        with_adapter(known)
    with pytest.raises(ValidationError, match="no adapter 'es'; adapters: de, fr"):
        with_adapter("es")
