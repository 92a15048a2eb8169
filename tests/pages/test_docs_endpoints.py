"""docs/endpoints.md is true: its models are valid, its options exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from raygen.config.model import ModelSpec
from raygen.engines.openai.engine import OpenAIEngine
from raygen.engines.openai.words import option_hint

PAGE = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text()


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_each_model_of_the_page_is_valid(block: str):
    for model in yaml.safe_load(block)["models"].values():
        spec = ModelSpec.model_validate(model)
        assert spec.engine == "openai"
        OpenAIEngine.Options.model_validate(spec.options)


def test_each_option_of_the_page_exists():
    named = set(re.findall(r"`([a-z_]+): [^`]+`", PAGE))
    assert named >= {"api_key_env", "proxy", "stream", "send_seed"}
    assert named <= OpenAIEngine.Options.model_fields.keys()
    assert f"`silence_s` ({OpenAIEngine.Options.model_fields['silence_s'].default:g})" in PAGE


def test_the_table_of_refusals_is_what_messages_say():
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|$", PAGE, re.MULTILINE)
    assert len(rows) == 3
    for field, option in rows:
        assert str(option_hint(f"Unsupported parameter: '{field}'", [field])).endswith(f"options.{option}")
