"""What is not installed is said with how to install it; what raygen's extras bring is what raygen asks for."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

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


@pytest.mark.parametrize("sweep", [False, True])
def test_a_training_names_its_extra_and_a_job_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Any], sweep: bool
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda package: None)
    recipe = {
        "name": "case", "family": "causal_lm", "base": "./model", "objective": {"text": "{{ text }}"},
        "source": {"format": "parquet", "uri": "rows.parquet"}, "output": str(tmp_path / "run"),
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    done = cli("train", tmp_path / "recipe.yaml", *(["--sweep", tmp_path / "sweep.yaml"] if sweep else []))
    assert done.code == 2
    assert done.err.startswith(
        "raygen: error: raygen train needs packages that are not installed here (torch, "
    )
    assert "pip install 'raygen[train]'" in done.err
