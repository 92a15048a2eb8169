"""Templates: what they may reach, and what they say of themselves."""

from __future__ import annotations

import pytest

from raygen.data.template import Template
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
