"""Classes that steps count on: a classifier without them is refused before work, naming the step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.errors import ConfigError, EngineConfigError
from raygen.models.text.label_files import read_labels
from raygen.program.job import Job
from raygen.program.prepare import prepare
from raygen.program.resolve import resolve_models
from tests.fakes.echo_jobs import echo_job

NLI = {"family": "classifier", "engine": "echo"}
GENERATE = {"generate": {"model": "writer", "prompt": "{{ text }}"}}
PREMISE = {"model": "nli", "premise": "{{ text }}"}


def job_with(
    step: dict[str, Any], nli: dict[str, Any] = NLI, source: Path | str = "in", output: Path | str = "out"
) -> Job:
    models = {"writer": {"family": "causal_lm", "engine": "echo"}, "nli": nli}
    return echo_job(source, output, models=models, steps=[GENERATE, step], keep=[])


def classifier(folder: Path, **config: Any) -> dict[str, Any]:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_text("{}")
    return {"family": "classifier", "engine": "encoder", "ref": str(folder)}


@pytest.mark.parametrize(
    ("step", "key"),
    [
        ({"verify": {"entailment": {**PREMISE, "label": "ENTAILMENT"}}}, "verify.entailment.label"),
        ({"verify": {"consistency": {"model": "nli", "label": "contradicts"}}}, "verify.consistency.label"),
        ({"score": {"entailment": {**PREMISE, "label": "yes"}}}, "score.entailment.label"),
    ],
)
def test_a_class_that_the_model_does_not_have_names_the_step(step: dict[str, Any], key: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"steps\.1\.{key}: model 'nli' has no class .*; classes: entailment, neutral, con"
    ):
        resolve_models(job_with(step))
    label = next(iter(next(iter(step.values())).values()))["label"]
    resolve_models(job_with(step, {**NLI, "options": {"labels": [label, "other"]}}))


def test_the_usual_classes_are_there() -> None:
    resolve_models(job_with({"verify": {"entailment": PREMISE}}))
    resolve_models(job_with({"verify": {"consistency": {"model": "nli"}}}))


def test_a_directory_says_its_classes(tmp_path: Path) -> None:
    nli = classifier(tmp_path / "nli", id2label={"0": "entailment", "1": "neutral", "2": "contradiction"})
    step = {"verify": {"entailment": {**PREMISE, "label": "entailed"}}}
    with pytest.raises(
        ConfigError,
        match=r"no class 'entailed' \(did you mean 'entailment'\?\); classes: entailment, neutral,",
    ):
        resolve_models(job_with(step, nli))
    resolve_models(job_with({"verify": {"entailment": PREMISE}}, nli))


def test_nothing_is_started_and_no_plan_is_pinned(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "text": ["x"]}), tmp_path / "in.parquet")
    step = {"verify": {"entailment": {**PREMISE, "label": "yes"}}}
    with pytest.raises(ConfigError, match=r"steps\.1\.verify\.entailment\.label"):
        prepare(job_with(step, source=tmp_path / "in.parquet", output=tmp_path / "out"))
    assert not (tmp_path / "out" / "plan.json").exists()


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"id2label": {"10": "k", "2": "c", "0": "a"}}, ("a", "c", "k")),
        ({}, ("LABEL_0", "LABEL_1")),
        ({"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
    ],
)
def test_labels_of_a_directory(tmp_path: Path, config: dict[str, Any], labels: tuple[str, ...]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_labels(tmp_path) == labels


@pytest.mark.parametrize("text", ["", "[]", '{"id2label": ["a"]}', '{"id2label": {"a": "b"}}'])
def test_a_broken_config_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(EngineConfigError, match="the classes cannot be read"):
        read_labels(tmp_path)


def test_labels_are_those_that_transformers_reads(tmp_path: Path) -> None:
    from transformers import AutoConfig

    for number, settings in enumerate(({"id2label": {1: "b", 0: "a", 2: "c"}}, {"num_labels": 4}, {})):
        folder = tmp_path / str(number)
        AutoConfig.for_model("bert", **settings).save_pretrained(folder)
        config = AutoConfig.from_pretrained(folder)
        assert read_labels(folder) == tuple(config.id2label[each] for each in range(config.num_labels))
