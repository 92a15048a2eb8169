"""Jobs are refused before any work, in one line that names the key, what was given and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from raygen.config.files import override
from raygen.errors import ConfigError
from raygen.program.job import Job, load_job
from tests.fakes.echo_jobs import echo_job

JOB: dict[str, Any] = {
    "name": "a-job",
    "source": {"format": "parquet", "uri": "in.parquet", "key": "id"},
    "models": {"w": {"family": "causal_lm", "engine": "echo"}},
    "steps": [{"generate": {"model": "w", "prompt": "About {{ text }}"}}],
}


def written(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({**JOB, **changes}))
    return path


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_job(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_reads_a_job(tmp_path: Path) -> None:
    job = load_job(written(tmp_path))
    assert job.name == "a-job"
    assert job.output_uri == "runs/a-job"


@pytest.mark.parametrize("path", sorted(Path("jobs").glob("*.yaml")), ids=lambda p: p.name)
def test_ready_jobs_are_valid(path: Path) -> None:
    load_job(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sede": 7}, ["sede", "unknown key", "'seed'"]),
        ({"steps": [{"genrate": {}}]}, ["steps.0.genrate", "'generate'"]),
        ({"steps": [{"generate": {"model": "w", "prompt": "x", "smaples": 2}}]}, ["smaples", "'samples'"]),
        ({"steps": [{"generate": {"model": "other", "prompt": "x"}}]}, ["'other'", "models: w"]),
        ({"steps": [{"generate": {"model": "w"}}]}, ["prompt", "messages"]),
        ({"steps": [{"generate": {"model": "w", "prompt": "x", "samples": 0}}]}, ["samples", "given: 0"]),
        ({"models": {"w": {"family": "causal_lm", "engine": "ehco"}}}, ["'ehco'", "echo", "openai", "torch"]),
        ({"models": {"w": {"family": "causal_lm", "engine": "torch"}}}, ["ref"]),
        (
            {"models": {"w": {"family": "causal_lm", "engine": "echo", "adapters": {"a": "/a"}}}},
            ["models.w", "'echo'", "takes no adapters"],
        ),
        (
            {"steps": [{"generate": {"model": "w", "prompt": "x", "adapter": "de"}}]},
            ["steps.0.generate.adapter", "no adapter 'de'", "adapters: none"],
        ),
        (
            {"models": {"w": {"family": "embedder", "engine": "torch", "ref": "/m"}}},
            ["models.w", "'torch'", "causal_lm", "not 'embedder'"],
        ),
        (
            {"models": {"w": {"family": "causal_lm", "engine": "encoder", "ref": "/m"}}},
            ["models.w", "'encoder'", "classifier, embedder", "not 'causal_lm'"],
        ),
        (
            {"models": {"w": {"family": "embedder", "engine": "encoder", "ref": "/m"}}},
            ["steps.0.generate.model", "'w'", "'embedder'", "what does: echo (causal_lm)"],
        ),
        (
            {"models": {"w": {"family": "causal_lm", "engine": "echo", "options": {"dely_s": 1}}}},
            ["dely_s", "delay_s"],
        ),
        ({"source": {"format": "xml", "uri": "x"}}, ["source: no format 'xml'", "'xml'", "parquet"]),
        ({"execution": {"replicas": [4, 1]}}, ["replicas", "min"]),
        (
            {
                "models": {
                    "w": {"family": "causal_lm", "engine": "echo", "placement": "pooled", "replicas": [4, 1]}
                }
            },
            ["models.w.replicas", "min"],
        ),
        (
            {
                "models": {
                    "w": {"family": "causal_lm", "engine": "echo", "replicas": [1, 4], "gpus_per_replica": 1}
                }
            },
            ["models.w", "replicas, gpus_per_replica", "placement: pooled", "execution"],
        ),
        (
            {"models": {"w": {"family": "causal_lm", "engine": "echo", "placement": "pool"}}},
            ["models.w.placement", "'pool'", "colocated", "pooled"],
        ),
        ({"name": "../up"}, ["name", "'../up'"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"date": 0}, ["date: a day, such as 2026-11-30", "not '0'"]),
        ({"date": 20261130}, ["date: a day, such as 2026-11-30", "20261130"]),
        ({"date": "2026-11-30T10:00:00"}, ["date: a day, such as 2026-11-30"]),
        ({"date": "2026-13-30"}, ["date", "2026-13-30"]),
        ({"execution": {"max_failed": True}}, ["execution.max_failed", "a number of rows", "5%"]),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, change: dict[str, Any], words: list[str]) -> None:
    message = refused(written(tmp_path, **change))
    assert str(tmp_path / "job.yaml") in message
    for word in words:
        assert word in message


def test_where_a_model_lives_is_not_what_the_run_is(tmp_path: Path) -> None:
    here = load_job(written(tmp_path))
    pool = ["placement=pooled", "replicas=[2, 5]", "cpus_per_replica=0.5", "gpus_per_replica=1"]
    there = load_job(written(tmp_path), [f"models.w.{each}" for each in pool])
    assert there.models["w"].pool_replicas == (2, 5)
    assert load_job(written(tmp_path), ["models.w.placement=pooled"]).models["w"].pool_replicas == (1, 1)
    assert there.identity() == here.identity()
    assert there.config_hash() == here.config_hash()
    assert Job.model_validate(there.model_dump(mode="json")) == there
    assert "placement" not in here.identity()["models"]["w"]


def test_overrides_reach_nested_fields(tmp_path: Path) -> None:
    job = load_job(
        written(tmp_path),
        ["steps.0.generate.samples=4", "source.max_line_bytes=2048", "execution.replicas=[1, 3]"],
    )
    assert job.steps[0].generate.samples == 4
    assert job.source.max_line_bytes == 2048
    assert job.execution.replicas == (1, 3)


@pytest.mark.parametrize(
    "prompt",
    [
        "{{ txt }}",
        " {{a}}: {{ b | upper }}",
        "{% if a %}yes{% endif %}",
        "Q: {{ a }} # 1",
        "- {% if a %}x{% endif %}",
    ],
)
def test_a_template_is_taken_as_it_stands(tmp_path: Path, prompt: str) -> None:
    job = load_job(written(tmp_path), [f"steps.0.generate.prompt={prompt}"])
    assert job.steps[0].generate.prompt == prompt
    assert "half of a surrogate pair" in refused(written(tmp_path), "steps.0.generate.prompt={{ a }}\udc80")


@pytest.mark.parametrize(
    "given", ["{prompt: 'Q: {{ a }}', model: w}", '{"prompt": "Q: {{ a }}", "model": "w"}']
)
def test_a_template_in_a_mapping_is_read_as_yaml(tmp_path: Path, given: str) -> None:
    generate = load_job(written(tmp_path), [f"steps.0.generate={given}"]).steps[0].generate
    assert generate.prompt == "Q: {{ a }}"
    quoted = load_job(written(tmp_path), ["steps.0.generate.prompt='Q: {{ a }}'"])
    assert quoted.steps[0].generate.prompt == "Q: {{ a }}"


def test_overrides_reach_below_a_key_with_dots() -> None:
    check = "house.checks:Calm"
    plain = {"steps": [{"verify": {check: {"at_most": 1, "inner": {}}}}]}
    changed = override(
        plain,
        [f"steps.0.verify.{check}.at_most=2", f"steps.0.verify.{check}.inner.deep=x", "steps.0.name=calm"],
    )
    assert changed == {"steps": [{"verify": {check: {"at_most": 2, "inner": {"deep": "x"}}}, "name": "calm"}]}


def test_named_arguments_win_over_overrides(tmp_path: Path) -> None:
    job = load_job(
        written(tmp_path), ["source.uri=b", "output=o"], input_uri="c: d", output_uri="x#y", max_rows=3
    )
    assert (job.source.uri, job.output_uri, job.source.max_rows) == ("c: d", "x#y", 3)


@pytest.mark.parametrize(
    "override", ["samples", "=3", "steps.7.generate.samples=1", "name.first=1", "source.uri=[1", "sede=1"]
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str) -> None:
    refused(written(tmp_path), override)


@pytest.mark.parametrize(
    "text",
    [
        "name: a\nname: b\n",
        "!!python/object/apply:os.system ['true']",
        "- a list",
        "",
        "a: [1, 2",
        "a: \x01",
        "a: &a [*a]\n",
        "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
        "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n",
        "[" * 2000,
    ],
    ids=["twice", "python-tag", "list", "empty", "unclosed", "control", "itself", "bomb", "deep"],
)
def test_odd_files_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    assert str(path) in refused(path)


@pytest.mark.parametrize("value", ["[a, 1180591620717411303424]", '[a, "\\uD83D"]'])
def test_what_a_plan_cannot_hold_is_refused_by_its_place(tmp_path: Path, value: str) -> None:
    assert "--set keep: 1: " in refused(written(tmp_path), f"keep={value}")


def test_other_than_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes("name: \xe4".encode("latin-1"))
    assert "UTF-8" in refused(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "none.yaml" in refused(tmp_path / "none.yaml")


def test_identity_leaves_out_what_changes_no_outcome(tmp_path: Path) -> None:
    job = echo_job("in", "out")
    same = echo_job("in", "elsewhere", execution={"replicas": [2, 8]}, name="renamed")
    assert job.config_hash() == same.config_hash()
    for change in ({"seed": 8}, {"keep": []}, {"sink": {"chunk_rows": 17}}):
        assert job.config_hash() != echo_job("in", "out", **change).config_hash()


def test_options_that_decide_outcomes_belong_to_the_identity() -> None:
    def hashed(**options: object) -> str:
        return echo_job(
            "in", "out", models={"writer": {"family": "causal_lm", "engine": "echo", "options": options}}
        ).config_hash()

    assert hashed() == hashed(delay_s=1, concurrency=3)
    assert hashed() != hashed(context_tokens=5)


def test_a_job_is_frozen() -> None:
    job = echo_job("in", "out")
    with pytest.raises(ValidationError):
        job.seed = 8  # type: ignore[misc]
    assert isinstance(job, Job)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("a{99999999999999}", "not a regular expression"),
        ("(" * 5000 + ")" * 5000, "nested too deeply, or too large"),
    ],
)
def test_a_pattern_beyond_all_bounds_is_refused(tmp_path: Path, pattern: str, said: str) -> None:
    assert said in refused(written(tmp_path), f"steps.0.generate.answer.pattern='{pattern}'")


@pytest.mark.parametrize("place", ["steps.\u00b2", "steps.\u00b2.generate", "steps.\u0660"])
def test_places_in_lists_are_plain_numbers(tmp_path: Path, place: str) -> None:
    assert f"--set {place}: there is no" in refused(written(tmp_path), f"{place}=1")


def test_an_attempt_has_a_second_at_least(tmp_path: Path) -> None:
    assert "execution.attempt_limit_s" in refused(written(tmp_path), "execution.attempt_limit_s=0.9")
    assert load_job(written(tmp_path), ["execution.attempt_limit_s=1"]).execution.attempt_limit_s == 1


def test_columns_are_kept_under_names_of_their_own() -> None:
    job = echo_job("in", "out", keep={"status": "source_status", "topic": "topic"})
    assert job.kept_as == {"source_status": "status", "topic": "topic"}
    assert echo_job("in", "out", keep=["topic"]).kept_as == {"topic": "topic"}
    assert echo_job("in", "out", keep=["topic"]).identity()["keep"] == ["topic"]  # as ever


@pytest.mark.parametrize(
    "value", ["{a: x, b: x}", "{a: ''}", "{a: __x}", "{a: 1}", "{a: }", "3", "a", "[1]", "[[a]]"]
)
def test_what_cannot_be_kept_so_is_refused_by_its_place(tmp_path: Path, value: str) -> None:
    said = refused(written(tmp_path), f"keep={value}")
    assert "keep" in said
    assert "tuple" not in said


@pytest.mark.parametrize(
    "accept", [{}, {"target": 0}, {"max_attempts_per_row": 0}, {"max_attempts_per_row": 65}, {"most": 1}]
)
def test_what_says_nothing_or_too_much_is_refused(accept: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="accept"):
        Job.model_validate({**JOB, "accept": accept})


def test_what_is_enough_is_part_of_what_a_job_is() -> None:
    plain = Job.model_validate(JOB)
    assert "accept" not in plain.identity()  # a job without one is the job that it was
    wants = Job.model_validate({**JOB, "accept": {"target": 3}})
    assert wants.identity()["accept"] == {"target": 3, "max_attempts_per_row": 1}
    assert wants.config_hash() != plain.config_hash()
