"""Files that are given to the wrong command: each is told what it is, and what takes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raygen.config.files import read_mapping
from raygen.config.purpose import JOB, RECIPE, SERVICE, check_purpose, purpose_of
from raygen.errors import ConfigError
from raygen.program.job import load_job
from raygen.serve.config import load_service
from raygen.train.recipe import load_recipe

ROOT = Path(__file__).parents[2]
FILES = {
    JOB: sorted(ROOT.glob("jobs/*.yaml")),
    RECIPE: sorted(ROOT.glob("jobs/recipes/*.yaml")),
    SERVICE: sorted(ROOT.glob("serve_configs/*.yaml")),
}
LOADERS: dict[Any, Callable[[Path], Any]] = {JOB: load_job, RECIPE: load_recipe, SERVICE: load_service}


def test_every_file_of_the_repository_is_what_it_is() -> None:
    for purpose, paths in FILES.items():
        assert paths
        assert [purpose_of(read_mapping(path)) for path in paths] == [purpose] * len(paths)


@pytest.mark.parametrize("wanted", LOADERS, ids=lambda purpose: purpose.noun)
@pytest.mark.parametrize("given", FILES, ids=lambda purpose: purpose.noun)
def test_a_file_of_another_command_is_told_which_one_takes_it(wanted: Any, given: Any) -> None:
    path = FILES[given][0]
    if wanted is given:
        LOADERS[wanted](path)
        return
    with pytest.raises(ConfigError) as refused:
        LOADERS[wanted](path)
    said = str(refused.value)
    assert said.startswith(
        f"{path}: this is {given.noun}, not {wanted.noun}; use it with: {given.command} {path}"
    )
    assert wanted.examples in said


def test_a_service_without_an_application_around_it_is_one() -> None:
    assert purpose_of({"store": "service", "models": {}}) is SERVICE


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        (JOB, {"name": "a", "source": {}, "models": {}, "store": "x"}),  # `steps` is missing, `store` unknown
        (JOB, {"name": "a", "models": {}, "source": {}, "stepz": []}),
        (RECIPE, {"name": "a", "family": "x", "base": "y", "objective": {}, "steps": 100}),  # of max_steps
        (SERVICE, {"modells": {}}),
        (JOB, {}),
    ],
)
def test_a_file_with_a_wrong_key_is_not_taken_for_another_kind(wanted: Any, value: Any) -> None:
    check_purpose(value, wanted, "x.yaml")


def test_the_commands_say_so_in_one_line(cli: Callable[..., Any]) -> None:
    job, service = ROOT / "jobs/python_docs_questions.yaml", ROOT / "serve_configs/laptop.yaml"
    wrong = (
        ("serve", job, "raygen run"),
        ("run", service, "raygen serve"),
        ("plan", service, "raygen serve"),
    )
    for command, path, other in wrong:
        done = cli(command, path)
        assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
        assert f"{other} {path}" in done.err
