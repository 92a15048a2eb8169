"""Models that bring code: never run; taken where transformers has the same classes, else refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from raygen.engines.torch.attention.over_slots import ATTENTION
from raygen.errors import EngineConfigError, ModelReferenceError
from raygen.models.fetch.reference import resolve
from raygen.models.text.causal_lm import load_causal_lm
from tests.fakes.tiny_llama import save_tiny, tiny_model

MODEL = {"AutoConfig": "configuration.TinyConfig", "AutoModelForCausalLM": "modeling.TinyForCausalLM"}


def changed(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as transformers knows it, with code that would leave a trace."""
    save_tiny(tmp_path)
    changed(tmp_path / "config.json", auto_map=MODEL)
    changed(tmp_path / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "tokenization.Tiny"]})
    for name in ("configuration", "modeling", "tokenization"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    return tmp_path


def test_a_model_that_transformers_has_itself_is_loaded_by_its_class(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = resolve(str(folder)).path
    assert "brings code of its own, which is not run" in caplog.text
    loaded = load_causal_lm(str(path), "float32", "cpu", ATTENTION)
    for name, weight in tiny_model().state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight)
    assert loaded.encode([{"role": "user", "content": "the"}])
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("config.json", {"model_type": "mine"}, "transformers has no model type 'mine' itself"),
        (
            "config.json",
            {"architectures": ["MyForCausalLM"]},
            "transformers has no class MyForCausalLM itself",
        ),
        (
            "tokenizer_config.json",
            {"tokenizer_class": "MyTokenizer"},
            "no tokenizer class 'MyTokenizer' itself",
        ),
    ],
)
def test_one_that_it_has_not_is_refused(folder: Path, file: str, change: dict[str, Any], words: str) -> None:
    changed(folder / file, **change)
    with pytest.raises(ModelReferenceError, match=words) as refused:
        resolve(str(folder))
    assert f"`auto_map` in {file}" in str(refused.value)


def test_a_model_whose_weights_are_not_all_there_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    changed(tmp_path / "config.json", num_hidden_layers=3)
    with pytest.raises(
        EngineConfigError, match=r"no whole language model: it has no weights for model\.layers\.2"
    ):
        load_causal_lm(str(tmp_path), "float32", "cpu", ATTENTION)
