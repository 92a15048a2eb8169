from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raygen.engines import ENGINES, engine_class, engine_facts
from raygen.engines.base import Engine
from raygen.engines.echo import EchoEngine
from raygen.engines.facts import EngineFacts
from raygen.models.families import FAMILIES, family_of
from raygen.program.job import Job
from tests.fakes.echo_jobs import echo_job

JOB = """
from raygen.models.families import FAMILIES, family_of
from raygen.program.job import Job
models = {
    "torch": {"family": "causal_lm", "engine": "torch", "ref": "./here"},
    "vllm": {"family": "causal_lm", "engine": "vllm", "ref": "./here"},
    "openai": {"family": "causal_lm", "engine": "openai", "ref": "m", "options": {"base_url": "http://127.0.0.1:9/v1"}},
    "encoder": {"family": "embedder", "engine": "encoder", "ref": "./here"},
}
steps = [
    {"generate": {"model": "torch", "prompt": "x", "samples": 2, "constraint": {"regex": "a"}}},
    {"score": {"perplexity": {"model": "torch"}}},
    {"select": {"diverse": {"count": 1, "model": "encoder"}}},
]
Job.model_validate(
    {"name": "n", "source": {"format": "parquet", "uri": "in", "key": "id"}, "models": models, "steps": steps}
).identity()
import sys
print(*sorted(sys.modules))
"""


class Shouting(EchoEngine):
    """An engine of another package."""


class Mute(Engine):
    """Says that it generates, as an engine does that says nothing of its families, and does not."""

    needs_ref = False


class Remote(EngineFacts):
    """Facts that name no engine."""


class RemoteMute(EngineFacts):
    """Facts of an engine that does not do what they say."""

    engine = f"{__name__}:Mute"


class Weighty(EchoEngine):
    """Does without a ref, and has weights."""

    has_weights = True


def test_a_job_is_validated_without_what_engines_compute_with():
    done = subprocess.run([sys.executable, "-c", JOB], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    engines = {name for name in loaded if name.startswith("raygen.engines.")}
    heavy = {"torch", "transformers", "aiohttp", "vllm", "safetensors", "tokenizers", "ray"}
    assert not loaded & heavy
    assert {name for name in engines if name.endswith((".engine", ".scheduler", ".runner", ".load"))} == set()
    assert len(engines) <= 16, sorted(engines)


@pytest.mark.parametrize("name", ENGINES.own)
def test_an_engine_is_what_its_facts_say(name):
    facts, engine = engine_facts(name), engine_class(name)
    assert issubclass(engine, facts)
    assert issubclass(engine, Engine)
    assert engine.Options is facts.Options


def test_an_engine_of_another_package_is_named_in_full(tmp_path: Path):
    place = f"{__name__}:Shouting"
    assert engine_class(place) is engine_facts(place) is Shouting
    models = {"writer": {"family": "causal_lm", "engine": place, "options": {"concurrency": 3}}}
    job = echo_job(tmp_path, tmp_path, models=models)
    assert job.models["writer"].engine == place


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        ("torhc", "no engine 'torhc'; engines: echo, encoder, openai, torch, vllm"),
        (f"{__name__}:JOB", f"engine '{__name__}:JOB': not a subclass of raygen.engines"),
        ("raygen.no_such:Engine", "engine 'raygen.no_such:Engine': .* cannot be imported"),
    ],
)
def test_what_is_no_engine_is_refused(tmp_path: Path, engine: str, words: str):
    with pytest.raises(ValueError, match=words):
        echo_job(tmp_path, tmp_path, models={"writer": {"family": "causal_lm", "engine": engine}})


def test_an_engine_that_does_not_do_what_it_says_is_refused_before_work(tmp_path: Path):
    words = "engine '.*Mute': its families say that it answers `generate`: it has no such method"
    for kind in (Mute, Remote):
        engine = f"{__name__}:{kind.__name__}"
        with pytest.raises(
            ValueError, match=words if kind is Mute else "neither an Engine nor facts that name one"
        ):
            echo_job(tmp_path, tmp_path, models={"writer": {"family": "causal_lm", "engine": engine}})
    with pytest.raises(ValueError, match=words):
        engine_class(f"{__name__}:RemoteMute")


def test_an_engine_with_weights_needs_a_ref(tmp_path: Path):
    model = {"family": "causal_lm", "engine": f"{__name__}:Weighty"}
    with pytest.raises(
        ValueError, match="has weights, so the model needs a `ref`; an engine without says `has_w"
    ):
        echo_job(tmp_path, tmp_path, models={"writer": model})


def test_a_family_that_an_engine_does_not_take_is_refused():
    spec = {"family": "embedder", "engine": "torch", "ref": "./here"}
    with pytest.raises(ValueError, match="engine 'torch' takes models of family causal_lm, not 'embedder'"):
        Job.model_validate(echo_job("in", "out").model_dump(mode="json") | {"models": {"writer": spec}})


@pytest.mark.parametrize("name", ENGINES.own)
def test_an_engine_takes_families_that_there_are(name: str):
    facts = engine_facts(name)
    for taken, verbs in facts.families.items():
        assert name in family_of(taken).engines
        assert verbs <= family_of(taken).verbs


@pytest.mark.parametrize("name", FAMILIES.own)
def test_families_and_engines_say_the_same_of_each_other(name: str):
    family = family_of(name)
    loaded_by = {engine for engine in ENGINES.own if name in engine_facts(engine).families}
    assert loaded_by == set(family.engines)
    answered = [engine_facts(engine).families[name] for engine in family.engines]
    assert frozenset().union(*answered) <= family.verbs
