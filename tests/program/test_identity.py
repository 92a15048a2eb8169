"""The identity of a job: the same for ever, or a run that was begun would not be resumed by a later version."""

from __future__ import annotations

from typing import Any

import pytest

from raygen.program.job import Job

MODELS = {
    "writer": {"family": "causal_lm", "engine": "echo"},
    "other": {"family": "causal_lm", "engine": "echo"},
    "nli": {"family": "classifier", "engine": "echo"},
    "emb": {"family": "embedder", "engine": "encoder", "ref": "./e"},
    "reader": {"family": "causal_lm", "engine": "torch", "ref": "./r"},
}
GENERATE = {"generate": {"model": "writer", "prompt": "About: {{ text }}", "samples": 2}}
TOOL = {"type": "function", "function": {"name": "f", "z": None, "a": 1}}
WHOLE = {
    "model": "reader",
    "system": "s",
    "prompt": "{{ a }}",
    "tools": [TOOL],
    "sampling": {"temperature": 0.3, "stop": ["x"]},
    "constraint": {"json_schema": {"type": "object", "properties": {"b": {"const": None}, "a": {}}}},
    "answer": {"json_field": "a.b"},
    "into": "x",
    "samples": 3,
}
SCHEMA = {"type": "object", "properties": {"x": {"const": None, "default": None}}}
# Digests that the version before the registries computed: every step, check and score is in one of them.
DIGESTS: list[tuple[list[dict[str, Any]], str]] = [
    ([GENERATE], "dbadc1dba6ecd2f7ebfce41be55d65e57985cc01622ce320876883a500f3d86d"),
    (
        [{"generate": WHOLE, "name": "first"}],
        "33a02dade2f7350bb6180564e3d7cb2e713d3bbfc1924ccdfe790b144e828920",
    ),
    (
        [
            {"decompose": {"model": "writer", "prompt": "{{ q }}", "answer": {"prompt": "{{ part }}"}}},
            GENERATE,
        ],
        "96ab75ddf8fb1bada3d930ad7f9fafe3be21c1a87ee89d1f8af380c026751e90",
    ),
    (
        [
            GENERATE,
            {"verify": {"entailment": {"model": "nli", "premise": "{{ p }}"}}},
            {"refine": {"prompt": "{{ finding }}"}},
        ],
        "7da1a73653909601b3f3a0f75eb7bf56951f05cf1fe3c333f23edad8e850d321",
    ),
    (
        [GENERATE, {"verify": {"consistency": {"model": "nli", "against": "x"}}}],
        "bdc2c9e41979a4fa7d381d2d430512a027a61a242f9e0122405e0d767fe080e1",
    ),
    (
        [GENERATE, {"verify": {"equals": {"expected": "{{ a }}"}}}],
        "20a253e380d5aa8e5e3060fa008f85ed784a5e0a4b570407d452359d3711ee29",
    ),
    (
        [GENERATE, {"verify": {"json_schema": SCHEMA}}],
        "e62c43685ba07e84d70de65149cabfd85b9767c3f2256cc60b02644111434dca",
    ),
    (
        [
            GENERATE,
            {"verify": {"judge": {"model": "other", "prompt": "{{ sample }}", "at_least": 5}}, "name": "j"},
        ],
        "b22bdd5c16ec3a3d7f579f39766f8c0db3537c47b79d269409803e59c67e461f",
    ),
    (
        [GENERATE, {"verify": {"language": {"allowed": ["en"]}}}],
        "9ce4354aa57df82f9f981dd01feb8265228c5f324805aa4c0f316036b367543c",
    ),
    (
        [
            GENERATE,
            {"verify": {"length": {"at_most": 10}}},
            {"verify": {"length": {"unit": "characters"}}},
        ],
        "8c912bc74f71c84ac9d3b761be93131bbc67bb79cca7a26d5b3070584d9e8c1f",
    ),
    (
        [GENERATE, {"verify": {"matches": {"pattern": "a+"}}}],
        "95d639717e81f6d146110d76110d7db7248c26acb78ef38baee5300cae8e70fa",
    ),
    (
        [GENERATE, {"verify": {"python": {"function": "a:b"}}}],
        "a2c8704e25ac82683f970af9c85f7a4d4a9c4bceff4f9e11ebd98f6679850214",
    ),
    (
        [GENERATE, {"select": {"diverse": {"count": 2, "model": "emb"}}}],
        "f865a54c0c3c0205e25b7096b29ebfca44538790f8234524fca72ef059e716d8",
    ),
    (
        [
            GENERATE,
            {"score": {"length": "words"}, "name": "l"},
            {"score": {"entailment": {"model": "nli", "premise": "x"}}},
            {"score": {"perplexity": {"model": "reader"}}},
            {"score": {"similarity": {"model": "emb", "to": "{{ x }}"}}},
            {"score": {"wordlist": {"words": ["b", "A"]}}},
            {"filter": {"score": "l", "at_least": 3}},
            {"select": {"best": "l"}},
        ],
        "eae81caf8a80f291b44c189980700730d68541df1822e93a5a1d60fa44c5fc48",
    ),
    (
        [GENERATE, {"python": {"function": "a:b", "reads": ["x"], "writes": ["y"], "scores": ["z"]}}],
        "4c1809c95398e694d9eabe394e6ed5df4beda719a05c62ab40c9d3895492d3a2",
    ),
    (
        [
            GENERATE,
            {"redact": {"with": "X", "entities": ["email", "url"]}},
            {"deduplicate": {"near": {"ngram": 3}}},
        ],
        "cdeb261b00240a39c5803ff11010db2ae739939c97d0862a5456b98a576f8ccf",
    ),
]
VERBS = ("generate", "decompose", "verify", "refine", "select", "score", "filter", "python", "redact")
CHECKS = ("entailment", "consistency", "equals", "json_schema", "judge", "language", "length", "matches")


def job_of(steps: list[dict[str, Any]]) -> Job:
    source = {"format": "parquet", "uri": "in", "key": "id"}
    return Job.model_validate({"name": "echo", "source": source, "models": MODELS, "steps": steps, "seed": 7})


@pytest.mark.parametrize(("steps", "digest"), DIGESTS)
def test_digests_of_jobs_are_fixed_for_ever(steps: list[dict[str, Any]], digest: str) -> None:
    assert job_of(steps).config_hash() == digest


@pytest.mark.parametrize(("steps", "digest"), DIGESTS)
def test_a_plan_of_an_earlier_version_names_all_keys_and_is_read(
    steps: list[dict[str, Any]], digest: str
) -> None:
    """It has null for each verb and check that a step does not name."""
    planned = [{**dict.fromkeys((*VERBS, "deduplicate", "name")), **step} for step in steps]
    planned = [
        {**step, "verify": {**dict.fromkeys((*CHECKS, "python")), **step["verify"]}}
        if step["verify"]
        else step
        for step in planned
    ]
    assert job_of(planned).config_hash() == digest
