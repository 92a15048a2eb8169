"""What the steps of a job cannot do together is refused before work, by key."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tests.steps.scripted import job_of

GENERATE = {"generate": {"model": "writer", "prompt": "About {{ text }}"}}
CHECKED = {"verify": {"entailment": {"model": "nli", "premise": "{{ text }}", "threshold": 0.8}}}
REFINED = {"refine": {"prompt": "{{ text }} | {{ sample }} | {{ finding }}", "budget": 3}}


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([CHECKED], r"steps\.0\.verify: there is no sample yet"),
        ([GENERATE, REFINED], r"steps\.1\.refine: no `verify` stands between"),
        ([GENERATE, CHECKED, REFINED, REFINED], r"steps\.3\.refine: no `verify`"),
        ([GENERATE, {"verify": {"entailment": {"model": "writer", "premise": "x"}}}],
         r"steps\.1\.verify\.entailment\.model: 'writer' is of family 'causal_lm', which classifies no texts"),
        ([GENERATE, {"verify": {"entailment": {"model": "nil", "premise": "x"}}}], r"no model 'nil'; models: writer, other, nli"),
        ([GENERATE, {"verify": {"json_schema": {"type": "nothing"}}}], r"steps\.1\.verify\.json_schema\.type: not a JSON schema"),
        ([GENERATE, {"verify": {"json_schema": {"$ref": "http://x/y"}}}], r"another document is not followed"),
        ([GENERATE, {"verify": {"json_schema": {"items": {"$ref": "#/$defs/a"}, "$defs": {"b": {}}}}}],
         r"steps\.1\.verify\.json_schema: `\$ref: #/\$defs/a` names nothing in it"),
        ([GENERATE, {"verify": {"json_schema": {"const": float("nan")}}}], r"steps\.1\.verify\.json_schema: .* no JSON"),
        ([GENERATE, {"select": {"best": "verify"}}], r"no step before it gives a score 'verify'; scores: none"),
        ([GENERATE, CHECKED, GENERATE, {"select": {"best": "verify"}}], r"steps\.3\.select\.best: no step before it"),
        ([GENERATE, {"verify": {"matches": {"pattern": "a"}}}, {"filter": {"score": "verify", "at_least": 1}}],
         r"steps\.2\.filter\.score: no step before it gives a score 'verify'; scores: none"),
        ([GENERATE, CHECKED, REFINED, CHECKED, REFINED, {"select": {"best": "verify"}}],
         r"steps\.5\.select\.best: no step before it gives a score 'verify'; scores: verify-2"),
        ([GENERATE, {"filter": {"score": "x", "at_most": 1}}], r"steps\.1\.filter\.score: no step before it"),
        ([{**GENERATE, "name": "a"}, {**CHECKED, "name": "a"}], r"steps\.1\.name: another step is called 'a'"),
        ([GENERATE, {"verify": {"entailment": {"model": "nli", "premise": "x", "threshold": 1.5}}}], "less than or equal to 1"),
        ([GENERATE, {"verify": {"length": {"at_least": 5, "at_most": 4}}}], "at_most"),
        ([GENERATE, CHECKED, {"filter": {"score": "verify", "at_least": 0.9, "at_most": 0.5}}],
         r"steps\.2\.filter[\s\S]*at_most \(0\.5\) is less than at_least \(0\.9\)"),
        ([{"generate": {**GENERATE["generate"], "into": "answer"}}], "'answer' is what templates call a part of the sample"),
        ([GENERATE, {"verify": {"matches": {"pattern": "("}}}], "not a regular expression"),
        ([GENERATE, {"verify": {}}], "give exactly one of entailment"),
        ([GENERATE, {"select": {"first": 1, "majority": True}}], "give exactly one of first, best, majority"),
        ([GENERATE, {"verify": {"length": {}}, "select": {"first": 1}}], "given: verify, select"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_work(steps: list, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job_of(*steps)
