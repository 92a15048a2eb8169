"""Steps, checks and scores of one's own: a file and a line, or named in full in the job; the same in every respect."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raygen.config.files import validate
from raygen.errors import ConfigError
from raygen.program.job import Job
from raygen.registry import Registry
from raygen.reports.step_counts import score_names
from raygen.runs.outcome import Outcome
from raygen.steps import STEPS
from raygen.steps.checks import CHECKS
from raygen.steps.scores import SCORES
from raygen.steps.spec import step_names
from tests.steps.scripted import Writer, job_of, run, story

STEP = '''"""Upper: the row's topic in capitals, as a variable."""

from raygen.config.base import Frozen, Variable
from raygen.steps.base import Step


class Upper(Frozen):
    into: Variable = "loud"


class UpperStep(Step):
    Config = Upper
    needs_samples = False

    def __init__(self, config, name, where, context, before):
        super().__init__(config, name, where, context, before)
        self._topic = self.template("{{ topic }}", "topic")
        self.writes = frozenset({config.into})

    async def run(self, story, calls):
        story.variables[self.config.into] = self._topic.render(story.names()).upper()
        story.decide(self.name, "done")
'''
CHECK = '''"""Calm: does the sample keep its voice down?"""

from raygen.config.base import Frozen, Probability
from raygen.steps.checks import Check, Verdict


class Calm(Frozen):
    at_most: Probability = 0.3
    unless: str | None = None


class CalmCheck(Check):
    reason = "shouting"
    Config = Calm

    def __init__(self, config, step):
        super().__init__(config, step)
        self._unless = self.template(config.unless or "", "unless")

    async def verdicts(self, story, drafts, calls):
        return [self._verdict(draft.text, self._unless.render(story.names(draft))) for draft in drafts]

    def _verdict(self, text, unless):
        share = sum(letter.isupper() for letter in text) / max(1, len(text))
        if share > self.config.at_most and text != unless:
            return Verdict(False, f"{share:.0%} are capitals", share)
        return Verdict(True, score=share)
'''
SCORE = '''"""Vowels: how many a sample has. It has no settings."""

from raygen.steps.scores import Scorer


class VowelsScorer(Scorer):
    async def scores(self, story, drafts, calls):
        return [float(sum(letter in "aeiou" for letter in draft.text)) for draft in drafts]
'''
UNFINISHED = '''"""Of each something that leaves out what it has to have."""

from raygen.steps.base import Step
from raygen.steps.checks import Check, Verdict
from raygen.steps.scores import Scorer


class Unreasoning(Check):
    async def verdicts(self, story, drafts, calls):
        return [Verdict(False) for _ in drafts]


class Silent(Check): ...
class Lame(Step): ...
class Blind(Scorer): ...
'''
FILES = {"house_step": STEP, "house_check": CHECK, "house_score": SCORE, "unfinished": UNFINISHED}
LINES = {
    "upper": (STEPS, "house_step:UpperStep"),
    "calm": (CHECKS, "house_check:CalmCheck"),
    "vowels": (SCORES, "house_score:VowelsScorer"),
}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with a file for each."""
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    importlib.invalidate_caches()
    yield tmp_path
    for name in FILES:
        sys.modules.pop(name, None)


def steps_of(upper: str, calm: str, vowels: str, **settings: Any) -> list[dict[str, Any]]:
    return [
        {upper: {}},
        {"generate": {"model": "writer", "prompt": "{{ loud }}", "samples": 3}},
        {"verify": {calm: settings}},
        {"score": {vowels: {}}, "name": "vowels"},
        {"select": {"best": "vowels"}},
    ]


def outcome_of(job: Job) -> Outcome:
    texts = ["SEA AND SAND", "a wave", "an ocean of it"]
    return run(job, Writer(lambda prompt, number: texts[number]), topic="sea")


def test_a_file_and_a_line_make_a_step_a_check_and_a_score(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, (registry, place) in LINES.items():
        monkeypatch.setitem(registry.own, name, place)  # type: ignore[arg-type]
    job = job_of(*steps_of(*LINES))
    assert step_names(job.steps) == ["upper", "generate", "verify", "vowels", "select"]
    outcome = outcome_of(job)
    assert story(outcome) == [
        ("upper", None, "done"),
        *[("generate", number, "generated") for number in range(3)],
        ("verify", 0, "shouting"),
        ("verify", 1, "passed"),
        ("verify", 2, "passed"),
        ("vowels", 1, "scored"),
        ("vowels", 2, "scored"),
        ("select", 2, "selected"),
        ("select", 1, "dropped"),
    ]
    assert outcome.variables == {"loud": "SEA"}
    assert outcome.samples[0]["scores"] == {"verify": 0.0, "vowels": 6.0}


def test_named_in_full_they_do_the_same(house: Path) -> None:
    job = job_of(*steps_of(*(place for _, place in LINES.values())))
    assert step_names(job.steps) == ["UpperStep", "generate", "verify", "vowels", "select"]
    outcome = outcome_of(job)
    assert [sample["text"] for sample in outcome.samples] == ["an ocean of it"]
    assert [sample["text"] for sample in outcome.discarded] == ["SEA AND SAND", "a wave"]
    assert score_names(job) == ["vowels", "verify"]


def test_a_package_offers_them(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from raygen import registry as module

    offers = [EntryPoint(name, place, registry.group) for name, (registry, place) in LINES.items()]
    monkeypatch.setattr(
        module, "entry_points", lambda group: [each for each in offers if each.group == group]
    )
    for registry in (STEPS, CHECKS, SCORES):
        monkeypatch.delitem(vars(registry), "_offered", raising=False)
    outcome = outcome_of(job_of(*steps_of(*LINES)))
    assert [sample["text"] for sample in outcome.samples] == ["an ocean of it"]
    with pytest.raises(ConfigError, match=r"verify\.calmm: unknown key \(did you mean 'calm'\?\); allowed:"):
        job_of_plain(*steps_of("upper", "calmm", "vowels"))
    for registry in (STEPS, CHECKS, SCORES):
        vars(registry).pop("_offered", None)


def job_of_plain(*steps: dict[str, Any]) -> Job:
    """Validate as a file is, with the words that people read."""
    plain = job_of({"generate": {"model": "writer", "prompt": "x"}}).model_dump(mode="json")
    return validate({**plain, "steps": list(steps)}, Job, "job.yaml")


NAMED = tuple(place for _, place in LINES.values())


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            steps_of(*NAMED, at_mots=1),
            r"steps\.2\.verify\.house_check:CalmCheck\.at_mots: unknown key \(did you mean 'at_most'\?\); allowed: at_most, ",
        ),
        (
            steps_of(*NAMED, at_most=7),
            r"steps\.2\.verify\.house_check:CalmCheck\.at_most: input should be less than or equal to 1; given: 7",
        ),
        (
            steps_of(NAMED[0], "house_check:Calm", NAMED[2]),
            r"steps\.2\.verify: check 'house_check:Calm': not a subclass of raygen\.steps\.checks\.Check",
        ),
        (
            steps_of("house_of_cards:Ace", *NAMED[1:]),
            r"steps\.0: step 'house_of_cards:Ace': 'house_of_cards:Ace' cannot be imported: ModuleNotFoundError",
        ),
        (
            steps_of(NAMED[0], "unfinished:Unreasoning", NAMED[2]),
            r"steps\.2\.verify: check 'unfinished:Unreasoning': it has no `reason`",
        ),
        (
            steps_of(NAMED[0], "unfinished:Silent", NAMED[2]),
            r"check 'unfinished:Silent': it has no `reason` and no `verdicts`",
        ),
        (
            steps_of("unfinished:Lame", *NAMED[1:]),
            r"steps\.0: step 'unfinished:Lame': it has no `run`",
        ),
        (
            steps_of(*NAMED[:2], "unfinished:Blind"),
            r"steps\.3\.score: score 'unfinished:Blind': it has no `scores`",
        ),
        (
            [{**steps_of(*NAMED)[0], "select": {"first": 1}}],
            r"steps\.0: give exactly one of generate, .*; given: select, house_step:UpperStep",
        ),
        (
            [{NAMED[0]: {}}, *steps_of(*NAMED)[:1], {"name": "UpperStep", "select": {"first": 1}}],
            r"steps\.2\.name: another step is called 'UpperStep'",
        ),
    ],
)
def test_what_is_wrong_is_said_by_key(house: Path, steps: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        job_of_plain(*steps)


def test_a_template_of_theirs_is_named_by_its_place_in_the_job(house: Path) -> None:
    from raygen.program.program import Program

    job = job_of(*steps_of(*NAMED, unless="{{ oops"))
    with pytest.raises(ConfigError, match=r"^steps\.2\.verify\.house_check:CalmCheck\.unless: "):
        Program(job)


def test_a_job_with_them_travels(house: Path) -> None:
    """Through a plan, which is JSON, and to another process, which has not imported them."""
    job = job_of(*steps_of(*NAMED, at_most=0.5))
    again = Job.model_validate(json.loads(job.model_dump_json()))
    assert again == job
    assert again.config_hash() == job.config_hash()
    assert again.config_hash() != job_of(*steps_of(*NAMED, at_most=0.6)).config_hash()
    (house / "job.pickle").write_bytes(pickle.dumps(job))
    code = "import pickle; print(pickle.load(open('job.pickle', 'rb')).config_hash())"
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(house)])
    printed = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=True, capture_output=True
    ).stdout
    assert printed.decode().strip() == job.config_hash()


def test_the_schema_of_a_job_knows_raygens_and_leaves_room_for_others() -> None:
    schema = Job.model_json_schema()["$defs"]
    for name, registry in (("Step", STEPS), ("Verify", CHECKS), ("Score", SCORES)):
        assert isinstance(registry, Registry)
        assert {*registry.own} <= {*schema[name]["properties"]}
        assert schema[name]["additionalProperties"] is False
        (pattern,) = schema[name]["patternProperties"]
        assert pattern == r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
    assert schema["Verify"]["properties"]["length"]["anyOf"][0] == {"$ref": "#/$defs/Length"}
