"""The generate step: what a row turns into, and what fails it."""

from __future__ import annotations

import asyncio
import datetime

import orjson
import pytest

from raygen.errors import ConfigError, RowError
from raygen.program.job import Job
from raygen.program.program import Program
from raygen.steps.generate import GenerateStep
from raygen.steps.row.calls import Calls
from raygen.steps.row.seeds import seed_of
from tests.fakes.echo_jobs import echo_job
from tests.steps.scripted import Writer, job_of, run, texts


def step(**changes: object) -> GenerateStep:
    config = {"model": "writer", "prompt": "About {{ text }}", **changes}
    model = {"family": "causal_lm", "engine": "torch", "ref": "./m", "adapters": {"fr": "./fr"}}
    return Program(echo_job("in", "out", models={"writer": model}, steps=[{"generate": config}])).first


def code_of(row: dict, **changes: object) -> str:
    with pytest.raises(RowError) as caught:
        step(**changes).request("r", row)
    return caught.value.code


def test_a_request_has_system_prompt_and_a_seed_a_sample() -> None:
    request = step(system="You know {{ topic }}", samples=3).request("r1", {"text": "x", "topic": "t"})
    assert request.messages == [
        {"role": "system", "content": "You know t"},
        {"role": "user", "content": "About x"},
    ]
    assert request.seeds == [seed_of(7, "r1", n, 0, "generate") for n in range(3)]
    assert len(set(request.seeds)) == 3


def test_columns_say_which_key_names_them() -> None:
    wanted = step(
        prompt="{{ a }} {% for x in b %}{{ x }}{% endfor %}", system="{{ c }}", images=["d"]
    ).columns
    assert wanted == {
        "a": "steps.0.generate.prompt",
        "b": "steps.0.generate.prompt",
        "c": "steps.0.generate.system",
        "d": "steps.0.generate.images",
    }


def test_what_a_row_lacks_fails_it_with_a_code() -> None:
    assert code_of({}) == "missing_column"
    assert code_of({"text": None}) == "missing_value"
    assert code_of({"text": b"x"}) == "not_text"
    assert code_of({"text": 3}, prompt="{{ text / 0 }}") == "template_error"
    assert code_of({"text": "x"}, prompt="{{ text.a.b }}") == "missing_column"
    assert code_of({"text": "x"}, images=["image"]) == "missing_value"
    assert code_of({"text": "x", "image": b"no image"}, images=["image"]) == "corrupt_media"


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "no json",
        [],
        [{"role": "pirate", "content": "x"}],
        [{"role": "user"}],
        ["x"],
        {"role": "user"},
    ],
)
def test_odd_messages_fail_the_row(value: object) -> None:
    assert code_of({"chat": value}, prompt=None, messages="chat") == "bad_messages"


def test_messages_come_as_a_list_or_as_json() -> None:
    chat = [{"role": "user", "content": "hi", "name": None}]
    assert step(prompt=None, messages="chat").request("r", {"chat": chat}).messages == [
        {"role": "user", "content": "hi"}
    ]
    text = '[{"role": "user", "content": "hi"}]'
    assert step(prompt=None, messages="chat").request("r", {"chat": text}).messages[0]["content"] == "hi"


def test_images_travel_as_data_urls() -> None:
    content = step(images=["i"]).request("r", {"text": "x", "i": b"\x89PNG\r\n"}).messages[0]["content"]
    assert content[0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert content[1] == {"type": "text", "text": "About x"}


def test_a_template_that_does_not_parse_names_its_place() -> None:
    with pytest.raises(ConfigError, match=r"steps\.0\.generate\.prompt: line 2"):
        step(prompt="ok\n{{ text ")


def test_the_adapter_is_a_name_or_a_template() -> None:
    row = {"text": "x", "language": " de "}
    assert step().request("r", row).adapter is None
    assert step(adapter="fr").request("r", row).adapter == "fr"
    templated = step(adapter="{{ language }}")
    assert "language" in templated.columns
    assert templated.request("r", row).adapter == "de"
    assert templated.request("r", {"text": "x", "language": ""}).adapter is None


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


def test_tools_stand_in_the_job_or_in_a_column() -> None:
    assert step(tools=[TOOL["function"]]).request("r", {"text": "x"}).tools == [TOOL]
    column = step(tools="given")
    assert column.columns["given"] == "steps.0.generate.tools"
    assert column.request("r", {"text": "x", "given": [TOOL]}).tools == [TOOL]
    assert column.request("r", {"text": "x", "given": None}).tools is None
    assert step().request("r", {"text": "x"}).tools is None
    assert code_of({"text": "x", "given": "?"}, tools="given") == "bad_tools"
    with pytest.raises(ValueError, match=r"steps\.0\.generate\.tools: tool 1 has no name"):
        step(tools=[TOOL, {"description": "x"}])


def test_parquets_padding_is_no_part_of_a_history() -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1, "b": None}}, "id": None}
    chat = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    asked = step(prompt=None, messages="chat").request("r", {"chat": chat}).messages
    assert asked[0]["tool_calls"] == [{"function": {"name": "f", "arguments": {"a": 1}}}]
    # What stands inside text has not been through a column's type: a null there was written by somebody.
    inside = {"body": "{...}", "body.chat": chat}
    asked = step(prompt=None, messages="body.chat").request("r", inside).messages
    assert asked[0]["tool_calls"] == [{"function": {"name": "f", "arguments": {"a": 1, "b": None}}}]


def test_tools_are_part_of_what_is_asked_only_where_there_are_some() -> None:
    async def key_of(**changes: object) -> str:
        request = step(**changes).request("r", {"text": "x"})
        key, _ = await Calls({"writer": Writer(lambda prompt, n: "x")}, {}).generate("writer", request)
        return key

    plain = asyncio.run(key_of())
    assert plain == "66c43a8ea5465dfce0e5b80e0af34070"  # as runs without tools have recorded it
    turned = {"type": "function", "function": dict(reversed(TOOL["function"].items()))}
    keys = [asyncio.run(key_of(tools=tools)) for tools in ([TOOL], [TOOL, TOOL], [turned])]
    assert len({plain, *keys}) == 4


def test_tools_of_a_job_come_out_of_a_plan_as_they_went_in() -> None:
    """Models read the keys in their order; plans are written with sorted keys, and without nulls."""
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"z": {"default": None}, "a": {}}}}
    generate = {"model": "writer", "prompt": "About {{ text }}", "tools": [tool]}
    job = echo_job("in", "out", steps=[{"generate": generate}])
    planned = orjson.dumps(job.model_dump(mode="json", exclude_none=True), option=orjson.OPT_SORT_KEYS)
    again = Job.model_validate(orjson.loads(planned))
    assert repr(again.steps[0].config.tools) == repr([tool])
    assert again.identity() == job.identity()
    turned = {**tool, "parameters": {"properties": {"a": {}, "z": {"default": None}}, "type": "object"}}
    generate["tools"] = [turned]
    assert echo_job("in", "out", steps=[{"generate": generate}]).identity() != job.identity()
    with pytest.raises(ValueError, match=r"tools[\s\S]*cannot be written as JSON"):
        step(tools=[{"name": "f", "since": datetime.date(2024, 1, 1)}])


ABOUT = {"generate": {"model": "writer", "prompt": "About {{ text }}"}}
CHECKED = {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.8}}}
REFINED = {"refine": {"prompt": "{{ text }} | {{ sample }} | {{ finding }}", "budget": 3}}


def test_a_named_sample_is_a_variable_of_later_prompts() -> None:
    job = job_of(
        {"generate": {"model": "writer", "prompt": "Begin: {{ text }}", "samples": 2, "into": "opening"}},
        {"verify": {"matches": {"pattern": "^good"}}},
        {"generate": {"model": "other", "prompt": "{{ opening }} goes on", "into": "ending"}},
    )
    writer = Writer(lambda prompt, n: ["bad", "good start"][n] if prompt.startswith("Begin") else "the end")
    found = run(job, writer, text="rain")
    assert writer.prompts == ["Begin: rain", "good start goes on"]
    assert found.variables == {"opening": "good start", "ending": "the end"}
    assert texts(found.samples) == ["the end"]
    assert texts(found.discarded) == ["bad", "good start"]
    assert [each["step"] for each in found.discarded] == ["generate", "generate"]
    assert found.samples[0]["step"] == "generate-2"


def test_seeds_of_a_step_do_not_move_when_others_are_added() -> None:
    plain, checked = Writer(lambda prompt, n: "good"), Writer(lambda prompt, n: "good")
    run(job_of(ABOUT), plain, text="rain")
    run(job_of(ABOUT, CHECKED, REFINED), checked, text="rain")
    assert plain.asked[0].seeds == checked.asked[0].seeds
