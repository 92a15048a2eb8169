"""Models as clients list them."""

from __future__ import annotations

from dataclasses import replace

from openai.types import Model

from raygen.wire.models import model_list, model_object
from tests.fakes.text_models import saying


def test_a_model_is_listed_with_what_it_answers():
    found = model_object(saying("x"))
    Model.model_validate(found, strict=True)
    assert (found["id"], found["parent"], found["verbs"]) == ("smol", None, ["generate"])


def test_an_adapter_names_its_model():
    adapter = replace(saying("x"), name="smol:pirate", adapter="pirate")
    assert [each["parent"] for each in model_list([adapter])["data"]] == ["smol"]
