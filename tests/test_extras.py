"""What is not installed is said with how to install it; what raygen's extras bring is what raygen asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from raygen import extras
from raygen.errors import ConfigError
from raygen.extras import INSTALL, PACKAGES, explained, require

NAMES = {
    "scikit-learn": "sklearn",
    "presidio-analyzer": "presidio_analyzer",
}  # of the distribution, where the package has another


def distributions(extra: str) -> set[str]:
    """Return the packages that an extra of pyproject.toml brings, with those of raygen's extras that it names."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    for line in project["optional-dependencies"][extra]:
        name = re.split(r"[<>=;]", line)[0].strip()
        inner = re.fullmatch(r"raygen\[(\w+)\]", name)
        found |= distributions(inner[1]) if inner else {NAMES.get(name, name)}
    return found


@pytest.mark.parametrize("extra", PACKAGES)
def test_an_extra_brings_all_that_is_asked_for(extra: str) -> None:
    assert set(PACKAGES[extra]) <= distributions(INSTALL.get(extra, extra))
    require(extra, "this test")  # in an environment for developers all are there


def test_what_is_missing_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        extras, "find_spec", lambda package: None if package in ("torch", "gguf") else object()
    )
    with pytest.raises(ConfigError) as refused:
        require("local", "models.writer: engine 'torch'")
    assert str(refused.value) == (
        "models.writer: engine 'torch' needs packages that are not installed here (torch, gguf): "
        "pip install 'raygen[local]'"
    )
    with pytest.raises(ConfigError, match=r"pip install 'raygen\[train\]'"):
        require("explain", "trace --attribute")


def test_a_failed_import_says_how_to_install_what_it_wanted() -> None:
    error = explained(ModuleNotFoundError("No module named 'torch'", name="torch.nn"))
    assert isinstance(error, ConfigError)
    assert "pip install 'raygen[local]'" in str(error)
    assert explained(ModuleNotFoundError("No module named 'house_rules'", name="house_rules")) is None
    assert explained(ValueError("torch")) is None
