"""Templates: what they may reach, and what they say of themselves."""

from __future__ import annotations

import pyarrow as pa
import pytest

from raygen.data.text.template import Template
from raygen.errors import ConfigError, RowError


def test_a_template_is_sandboxed() -> None:
    for hostile in (
        "{{ text.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ cycler.__init__.__globals__ }}",
    ):
        with pytest.raises(RowError):
            Template(hostile, "here").render({"text": "x"})


def test_a_template_knows_its_columns() -> None:
    assert Template("{{ a }} {% for x in b %}{{ x }}{% endfor %}", "here").columns == {"a", "b"}


def test_a_broken_template_names_its_place() -> None:
    for broken in ("{{ text ", "{% include 'other' %}", "{% from 'other' import name %}"):
        with pytest.raises(ConfigError, match=r"objective\.text: line 1"):
            Template(broken, "objective.text")


@pytest.mark.parametrize("text", ["{{ 10**(10**10) }}", "{{ n ** 99999999 }}", "{{ 2 ** -99999999 }}"])
def test_a_power_is_bounded(text: str) -> None:
    with pytest.raises(RowError, match="power of more than"):
        Template(text, "prompt").render({"n": 10})
    assert Template("{{ 2**10 }} {{ 2.5**2 }} {{ n**3 }}", "prompt").render({"n": 5}) == "1024 6.25 125"


def test_a_template_has_no_filler_text() -> None:
    assert Template("{{ lipsum(1000000) }}", "prompt").columns == {"lipsum"}
    with pytest.raises(RowError, match="'lipsum' is undefined"):
        Template("{{ lipsum(1000000) }}", "prompt").render({})


def test_a_template_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ConfigError, match="prompt: the template is nested too deeply"):
        Template("{{ " + "1+" * 20_000 + "1 }}", "prompt")


ROW = {
    "list": ["a", "b"],
    "nested": [["a"], "b"],
    "object": {"inner": {"list": [1]}, "text": "t"},
    "chat": [{"role": "user", "content": "hi"}],
    "map": [("k", 1)],  # as Parquet's maps are read
    "null": None,
    "nan": float("nan"),
    "bytes": b"x",
    "text": "t",
    "yes": True,
    "number": 1.5,
}


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("{{ list }}", "not_text", "'list' holds a list, not text; `| tojson`"),
        ("{{ object }}", "not_text", "'object' holds an object"),
        ("{{ object.inner['list'] }}", "not_text", r"'object\.inner\.list' holds a list"),
        ("{{ chat }}", "not_text", "'chat' holds a list, not text; chat messages go in whole: `messages: chat`"),
        ("{{ map }}", "not_text", "'map' holds a list"),
        ("{{ null }}", "missing_value", "'null' is null"),
        ("{{ nan }}", "missing_value", "'nan' is NaN"),
        ("{{ bytes }}", "not_text", "'bytes' holds bytes, not text; pictures go beside"),
        ("{{ text.upper }}", "not_text", r"'text\.upper' holds a builtin_function"),
        ("{{ list | map('upper') }}", "not_text", "made of 'list' holds a generator"),
        ("so: {{ 'it is ' ~ list }}", "not_text", "'list' holds a list"),
        ("{{ list | trim }}", "not_text", "'list' holds a list"),
        ("{{ null | upper }}", "missing_value", "'null' is null"),
        ("{{ nested | join(', ') }}", "not_text", "a part of 'nested' holds a list"),
        ("{{ '%s: %s' % (text, list) }}", "not_text", "holds a list"),
        ("{{ '{}'.format(list) }}", "not_text", "holds a list"),
        ("{{ '%s' | format(list) }}", "not_text", "holds a list"),
        ("{% for each in nested %}{{ each }}{% endfor %}", "not_text", "'each' holds a list"),
        ("{% macro m(x) %}{{ x }}{% endmacro %}{{ m(list) }}", "not_text", "'x' holds a list"),
    ],
)  # fmt: skip
def test_what_python_would_print_in_its_own_notation_is_refused(text: str, code: str, words: str) -> None:
    with pytest.raises(RowError, match=f"^here: .*{words}") as refused:
        Template(text, "here").render(ROW)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("{{ object.inner | tojson }}", '{"list": [1]}'),
        ("{{ list | join(', ') }}", "a, b"),
        ("{{ chat | map(attribute='content') | join }}", "hi"),
        ("{{ chat | join(', ', attribute='role') }}", "user"),
        ("{% for each in chat %}{{ each.role }}: {{ each.content }}{% endfor %}", "user: hi"),
        ("{{ list[1] }} {{ list | length }} {{ list | first | upper }}", "b 2 A"),
        ("{{ text ~ number }} {{ '%s' % text }} {{ '{}'.format(text) }} {{ 7 % 4 }}", "t1.5 t t 3"),
        ("{{ '%(a)s' % {'a': text} }}", "t"),
        ("{{ null or 'none given' }} {{ absent | default('x') }}", "none given x"),
        ("{% set list = list | tojson %}{{ list }}", '["a", "b"]'),
        # Booleans are words that are read alike by people and models; `tojson` has the other spelling.
        ("{{ yes }} {{ yes | tojson }}", "True true"),
    ],
)
def test_a_list_or_an_object_is_printed_by_a_filter_a_loop_or_its_parts(text: str, printed: str) -> None:
    assert Template(text, "here").render(ROW) == printed


CHAT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
COLUMNS = {
    "chat": CHAT,
    "body": pa.struct([("messages", CHAT), ("id", pa.string())]),
    "map": pa.map_(pa.string(), pa.int64()),
    "text": pa.string(),
}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Say {{ chat }}", r"here: 'chat' holds lists, not text: chat messages go in whole"),
        ("{{ text }} {{ body.messages }}", r"'body\.messages' holds lists"),
        ("{{ body }}", "'body' holds objects, not text: `| tojson`"),
        ("{{ body | trim }}", "'body' holds objects"),
        ("{{ map }}", "'map' holds objects"),
    ],
)
def test_a_template_that_prints_a_column_of_lists_or_objects_is_refused_before_work(
    text: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Template(text, "here").check(COLUMNS)


def test_a_recipe_is_told_of_the_pair_of_columns() -> None:
    with pytest.raises(
        ConfigError, match=r"`messages: \[PROMPT, COMPLETION\]`, the names of two columns, instead"
    ):
        Template("{{ chat }}", "objective.completion").check(COLUMNS)


@pytest.mark.parametrize(
    "text",
    [
        "{{ body.id }} {{ text }} {{ chat | tojson }} {{ chat[0].content }} {{ body.unknown }}",
        "{% if text is mapping %}{{ body }}{% endif %}",  # it may never come to this
        "{% set chat = chat | length %}{{ chat }}",
        "{% for map in chat %}{{ map.role }}{% endfor %}",
    ],
)
def test_a_template_is_refused_only_where_every_row_would_fail(text: str) -> None:
    Template(text, "here").check(COLUMNS)
