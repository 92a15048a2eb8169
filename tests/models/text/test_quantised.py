"""Quantised weights: laid out in full, bit by bit, or refused before work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from raygen.engines.torch.attention.over_slots import ATTENTION
from raygen.errors import ModelReferenceError
from raygen.models.text.causal_lm import load_causal_lm
from raygen.models.text.quantised import in_full, quantisation_of
from raygen.program.resolve import resolve_models
from raygen.train.run import checked_base
from tests.fakes.tiny_encoders import save_encoder, tiny_encoder
from tests.fakes.tiny_llama import save_tiny, tiny_model
from tests.review.traced_run import traced_job
from tests.train.in_memory import recipe_of

METHODS: list[dict[str, Any]] = [
    {"quant_method": "awq", "bits": 4},
    {"quant_method": "gptq", "bits": 4},
    {"quant_method": "bitsandbytes", "load_in_4bit": True},
    {"load_in_8bit": True},  # as its first versions wrote it
    {"quant_method": "compressed-tensors"},
    {"quant_method": "of next year"},
]


def quantise(folder: Path, settings: dict[str, Any]) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    return folder


@pytest.mark.parametrize("settings", METHODS)
def test_weights_that_cannot_be_laid_out_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    folder = quantise(save_tiny(tmp_path / "model"), settings)
    spec = {"family": "causal_lm", "engine": "torch", "ref": str(folder)}
    steps = [{"generate": {"model": "writer", "prompt": "{{ text }}"}}]
    with pytest.raises(ModelReferenceError) as refused:
        resolve_models(traced_job(tmp_path, steps, 1, models={"writer": spec}))
    method = settings.get("quant_method", "bitsandbytes")
    assert str(refused.value).startswith(f"models.writer.ref: {folder}: its weights are quantised ({method})")
    assert "engine `vllm`" in str(refused.value)
    assert resolve_models(traced_job(tmp_path, steps, 1, models={"writer": {**spec, "engine": "vllm"}}))
    with pytest.raises(ModelReferenceError, match=r"base: .* quantised"):
        checked_base(recipe_of(folder))


def test_so_are_those_of_an_encoder(tmp_path: Path) -> None:
    folder = quantise(save_encoder(tmp_path / "model", tiny_encoder("bert", ("no", "yes"))), METHODS[2])
    nli = {"family": "classifier", "engine": "encoder", "ref": str(folder)}
    steps = [
        {"generate": {"model": "writer", "prompt": "{{ text }}"}},
        {
            "verify": {
                "entailment": {"model": "nli", "premise": "{{ text }}", "label": "yes", "threshold": 0.5}
            }
        },
    ]
    models = {"writer": {"family": "causal_lm", "engine": "echo"}, "nli": nli}
    with pytest.raises(ModelReferenceError, match=r"models\.nli\.ref: .* quantised \(bitsandbytes\)"):
        resolve_models(traced_job(tmp_path, steps, 1, models=models))


def test_eight_bit_floats_are_laid_out_in_full(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    folder = quantise(save_tiny(tmp_path, tiny_model(hidden_size=128, intermediate_size=128)), settings)
    stored, expected = {}, {}
    for name, weight in load_file(folder / "model.safetensors").items():
        stored[name] = expected[name] = weight
        if name.endswith("_proj.weight"):  # one block
            scale = weight.abs().max() / 448
            stored[name] = (weight / scale).to(torch.float8_e4m3fn)
            stored[f"{name}_scale_inv"] = scale[None, None]
            expected[name] = stored[name].float() * scale
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    assert quantisation_of(folder) == "fp8"
    assert (
        in_full(folder)["config"].quantization_config["dequantize"] is True
    )  # else a GPU's kernels would compute
    loaded = load_causal_lm(str(folder), "float32", "cpu", ATTENTION).model.state_dict()
    for name, weight in expected.items():
        assert torch.equal(loaded[name], weight), name


def test_what_is_not_quantised_is_loaded_as_ever(tmp_path: Path) -> None:
    assert in_full(save_tiny(tmp_path)) == {}
    (tmp_path / "config.json").write_text("[]")
    assert quantisation_of(tmp_path) is None
