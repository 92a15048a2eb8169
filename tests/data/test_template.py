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
