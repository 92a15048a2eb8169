"""What steps ask of their models, looked at before work: system texts, template arguments, token ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raygen.errors import ConfigError
from raygen.pipeline.run import run_job
from raygen.program.job import Job
from raygen.program.prepare import prepare
from raygen.program.resolve import resolve_models
from raygen.storage import open_store
from tests.fakes.chat_templates import HERMES, PLAIN
from tests.fakes.echo_jobs import echo_job
from tests.fakes.tiny_llama import save_tiny
from tests.review.traced_run import traced_job

USER_ONLY = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
REFUSING = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{{ m.content }}{% endfor %}"
)
THINKING = "{{ enable_thinking }}{% for m in messages %}{{ m.content }}{% endfor %}"
GENERATE: dict[str, Any] = {"model": "writer", "prompt": "{{ text }}"}
JUDGE = {"model": "writer", "system": "be strict", "prompt": "{{ sample }}", "at_least": 3}


def job_of(
    folder: Path, chat_template: str | None, *steps: dict[str, Any], engine: str = "torch", **options: Any
) -> Job:
    save_tiny(folder / "model", chat_template=chat_template)
    writer = {"family": "causal_lm", "engine": engine, "ref": str(folder / "model"), "options": options}
    return traced_job(folder, list(steps), 2, models={"writer": writer})


def refusal(job: Job) -> str:
    with pytest.raises(ConfigError) as refused:
        prepare(job)
    assert not list(open_store(job.output_uri).list(""))  # nothing was begun
    return str(refused.value)


@pytest.mark.parametrize("engine", ["torch", "vllm"])
@pytest.mark.parametrize(
    ("template", "words"), [(USER_ONLY, "leaves the system text out"), (REFUSING, "no system role")]
)
def test_a_system_text_that_the_template_does_not_take_is_refused(
    tmp_path: Path, template: str, words: str, engine: str
) -> None:
    job = job_of(tmp_path, template, {"generate": {**GENERATE, "system": "be kind"}}, engine=engine)
    message = refusal(job)
    assert message.startswith("steps.0.generate.system: model 'writer': the model's chat template ")
    assert words in message
    assert message.endswith("; put the text into `prompt`")


@pytest.mark.parametrize(
    ("step", "key"),
    [
        ({"verify": {"judge": JUDGE}}, "steps.1.verify.judge.system"),
        ({"refine": {"prompt": "{{ sample }}", "system": "mend it"}}, "steps.2.refine.system"),
        (
            {
                "decompose": {
                    "model": "writer",
                    "prompt": "{{ text }}",
                    "answer": {"prompt": "{{ part }}", "system": "s"},
                }
            },
            "steps.0.decompose.answer.system",
        ),
    ],
)
def test_so_is_that_of_every_other_step(tmp_path: Path, step: dict[str, Any], key: str) -> None:
    generate, check = {"generate": GENERATE}, {"verify": {"length": {"at_least": 1}}}
    steps = {"decompose": [step, generate], "refine": [generate, check, step]}
    job = job_of(tmp_path, USER_ONLY, *steps.get(next(iter(step)), [generate, step]))
    assert refusal(job).startswith(f"{key}: ")


def test_a_template_that_takes_it_is_not_refused(tmp_path: Path) -> None:
    generate = {"generate": {**GENERATE, "system": "be kind"}}
    for number, template in enumerate((None, "{% for m in messages %}{{ m.content }}{% endfor %}")):
        folder = tmp_path / str(number)
        folder.mkdir()
        prepare(job_of(folder, template, generate))


def test_an_argument_that_the_template_never_reads_is_refused(tmp_path: Path) -> None:
    job = job_of(tmp_path, THINKING, {"generate": GENERATE}, template={"thinking": False})
    assert refusal(job) == (
        "models.writer.options.template.thinking: the model's chat template never reads it; arguments that it reads: "
        "enable_thinking"
    )
    prepare(job_of(tmp_path, THINKING, {"generate": GENERATE}, template={"enable_thinking": False}))


def test_arguments_are_part_of_what_a_run_is(tmp_path: Path) -> None:
    given = [
        job_of(tmp_path, THINKING, {"generate": GENERATE}, template={"enable_thinking": on})
        for on in (True, False)
    ]
    assert given[0].identity() != given[1].identity()
    with pytest.raises(ValueError, match=r"template: .*'messages' is what every chat template is given"):
        job_of(tmp_path, THINKING, {"generate": GENERATE}, template={"messages": []})


def test_a_template_that_draws_at_random_is_refused(tmp_path: Path) -> None:
    job = job_of(tmp_path, "{{ range(9) | random }}{{ messages[0].content }}", {"generate": GENERATE})
    assert refusal(job).startswith("models.writer: the model's chat template draws at random (`random`)")


@pytest.mark.parametrize("sampling", [{"stop_token_ids": [3, 266]}, {"logit_bias": {266: 1.0}}])
def test_token_ids_outside_the_vocabulary_are_refused(tmp_path: Path, sampling: dict[str, Any]) -> None:
    key = next(iter(sampling))
    generate = {"generate": {**GENERATE, "sampling": sampling}}
    assert refusal(job_of(tmp_path, None, generate)) == (
        f"steps.0.generate.sampling.{key}: token 266; the tokens of model 'writer' are 0 to 265"
    )


def test_a_model_of_unknown_vocabulary_is_left_to_its_engine(tmp_path: Path) -> None:
    job = job_of(tmp_path, None, {"generate": {**GENERATE, "sampling": {"stop_token_ids": [266]}}})
    (tmp_path / "model" / "config.json").write_text("{}")
    assert resolve_models(job)
    prepare(job)


TOOL = {"type": "function", "function": {"name": "add"}}
CHAT = [{"role": "user", "content": "add"}]


@pytest.mark.parametrize("tools", ["topic", [TOOL]])
@pytest.mark.parametrize(
    ("template", "words"),
    [
        (PLAIN, "the model's chat template leaves out the list of tools"),
        (None, "the model has no chat template: it knows no tools and no tool calls"),
    ],
)
def test_tools_that_the_template_leaves_out_are_refused(
    tmp_path: Path, template: str | None, words: str, tools: Any
) -> None:
    job = job_of(tmp_path, template, {"generate": {**GENERATE, "tools": tools}})
    assert refusal(job) == f"steps.0.generate.tools: model 'writer': {words}"


def test_tools_that_the_template_writes_are_not(tmp_path: Path) -> None:
    prepare(job_of(tmp_path, HERMES, {"generate": {**GENERATE, "tools": [TOOL]}}))


def test_a_column_of_tools_that_no_step_reads_is_told_once(tmp_path: Path) -> None:
    rows = [
        {"id": f"r{n}", "chat": CHAT, "body": {"messages": CHAT, "tools": [TOOL]}, "tools": [TOOL]}
        for n in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")

    def told(name: str, **generate: Any) -> list[str]:
        step = {"generate": {"model": "writer", **generate}}
        lines: list[str] = []
        job = echo_job(tmp_path / "in.parquet", tmp_path / name, steps=[step], keep=[])
        assert run_job(job, inline=True, say=lines.append).rows["accepted"] == 3
        return [line for line in lines if "tells the model" in line]

    assert told("chat", messages="chat") == [
        "steps.0.generate: the source has a column 'tools' beside 'chat', and the step does not read it: `tools: tools` tells "
        "the model of the tools"
    ]
    assert "`tools: body.tools`" in told("body", messages="body.messages")[0]
    assert told("body", messages="body.messages") == []  # the run is there already
    assert told("read", messages="chat", tools="tools") == []
    assert told("both", messages="body.messages", tools="body.tools") == []
    assert told("prompt", prompt="{{ id }}") == []
