from __future__ import annotations

import re

from raygen.config.source import Source
from raygen.reports.remedies import OTHERWISE, REMEDIES, remedy


def test_known_and_unknown_codes_have_a_remedy() -> None:
    assert remedy("wrong_encoding") == "Save the input as UTF-8."
    assert remedy("missing_value").endswith("`{{ title or 'untitled' }}`, or fill the column.")
    assert remedy("never_heard_of") == OTHERWISE


def test_remedies_name_settings_that_exist() -> None:
    named = re.findall(r"`source\.(\w+)`", " ".join(REMEDIES.values()))
    assert named
    assert set(named) <= set(Source.model_fields)
