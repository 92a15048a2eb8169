"""Software: what is missing or of a wrong version is an error that names the command; extras of others' do not count."""

from __future__ import annotations

import tomllib
from pathlib import Path

from raygen.doctor.finding import Finding
from raygen.doctor.software import NAMED, TELLING, check_software

NEEDS = ["ray[data]>=2.60,<2.61", "Jinja2>=3.1", "pytest>=8; extra == 'dev'"]


def look(**versions: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_software(NEEDS, versions.get, "3.11.9")}


def test_what_is_there_in_the_wanted_version_is_fine() -> None:
    found = look(ray="2.60.3", jinja2="3.1.6")
    assert {finding.state for finding in found.values()} == {"ok"}
    assert found["ray"].value == "2.60.3"
    assert "jinja2" not in found, "only what most depends on has a line of its own"
    assert found["packages"].facts == {"versions": {"ray": "2.60.3", "jinja2": "3.1.6"}}


def test_a_missing_package_is_an_error_with_the_command() -> None:
    found = look(ray="2.60.3")
    assert (found["jinja2"].state, found["jinja2"].value) == ("error", "not installed")
    assert found["jinja2"].remedy == "pip install 'Jinja2>=3.1'"
    assert found["packages"].value == "1 of the 2 needed are there"


def test_a_wrong_version_is_an_error_that_tells_both() -> None:
    found = look(ray="2.61.0", jinja2="3.1.6")["ray"]
    assert found.state == "error"
    assert "2.61.0" in found.value
    assert ">=2.60" in found.value
    assert found.remedy.startswith("pip install 'ray")


def test_builds_and_previews_of_a_wanted_version_are_fine() -> None:
    found = look(ray="2.60.1+cpu", jinja2="3.2rc1")
    assert {finding.state for finding in found.values()} == {"ok"}


def test_another_python_is_an_error() -> None:
    found = {finding.name: finding for finding in check_software(NEEDS, {}.get, "3.9.1")}["python"]
    assert found.state == "error"
    assert "3.11" in found.remedy


def test_a_clone_that_is_not_installed_is_told() -> None:
    found = check_software([], {}.get, "3.11.9")[-1]
    assert (found.name, found.state) == ("packages", "warning")


def test_what_has_a_line_of_its_own_is_needed() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert all(any(need.startswith(name) for need in project["dependencies"]) for name in NAMED)
    for name, extra in TELLING.items():
        assert any(need.startswith(name) for need in project["optional-dependencies"][extra]), name


def test_an_extra_is_told_and_its_absence_is_no_fault() -> None:
    needs = [*NEEDS, 'torch<2.14,>=2.13; extra == "local"']
    found = {each.name: each for each in check_software(needs, {"torch": "2.12.0"}.get, "3.11.9")}
    assert found["torch"].state == "error"
    assert found["torch"].remedy == "pip install 'raygen[local]'"
    assert found["peft"].state == "ok"
    assert "pip install 'raygen[train]'" in found["peft"].value
