"""Learnable weights: all, top layers, LoRA; on decoders and encoders; dropout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig

from raygen.errors import ConfigError
from raygen.train.families.learnable import count_trainable, make_learnable, set_dropout, trainable
from raygen.train.recipe import Lora, Trained
from tests.fakes.tiny_encoders import tiny_encoder
from tests.fakes.tiny_llama import tiny_model

GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 160}


def test_all_weights_unless_said_otherwise() -> None:
    model = make_learnable(tiny_model(), Trained(), seed=0)
    learnt, of = count_trainable(model)
    assert learnt == of > 0


@pytest.mark.parametrize(
    ("model", "learnt"),
    [
        (lambda: tiny_model(), {"model.layers.1", "model.norm", "lm_head"}),
        (lambda: tiny_model("gpt2", **GPT2), {"transformer.h.1", "transformer.ln_f", "transformer.wte"}),
        (
            lambda: tiny_encoder("bert", labels=("a", "b")),
            {"bert.encoder.layer.1", "bert.pooler", "classifier"},
        ),
        (
            lambda: tiny_encoder("roberta", labels=("a", "b")),
            {"roberta.encoder.layer.1", "classifier"},
        ),
        (
            lambda: tiny_encoder("distilbert", labels=("a", "b")),
            {"distilbert.transformer.layer.1", "pre_classifier", "classifier"},
        ),
        (
            lambda: tiny_encoder("modernbert", labels=("a", "b")),
            {"model.layers.2", "model.final_norm", "head", "classifier"},
        ),
    ],
)
def test_the_last_layer_and_what_comes_after_it(model: Any, learnt: set[str]) -> None:
    """GPT-2's head is its embeddings, so these are learnt."""
    found = trainable(make_learnable(model(), Trained(top_layers=1), seed=0))
    assert found
    assert {next((part for part in learnt if name.startswith(f"{part}.")), name) for name in found} == learnt


def test_no_layer_is_the_head_alone() -> None:
    found = trainable(make_learnable(tiny_encoder("bert", labels=("a", "b")), Trained(top_layers=0), seed=0))
    assert {name.rpartition(".")[0] for name in found} == {"bert.pooler.dense", "classifier"}


def test_lora_learns_an_adapter_alone_from_seeded_weights() -> None:
    trained = Trained(lora=Lora(rank=2))
    models = [make_learnable(tiny_model(), trained, seed=seed) for seed in (5, 5, 6)]
    weights = [trainable(model) for model in models]
    assert all(".lora_" in name for name in weights[0])
    assert len(weights[0]) == 2 * 2 * 7
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])
    ids = torch.arange(4, 20)[None]
    torch.testing.assert_close(models[0](ids).logits, tiny_model()(ids).logits)  # at first it changes nothing


def test_lora_of_named_layers_and_of_transposed_ones() -> None:
    found = trainable(make_learnable(tiny_model(), Trained(lora=Lora(targets=("q_proj",))), seed=0))
    assert len(found) == 2 * 2
    assert all(".q_proj." in name for name in found)
    assert trainable(make_learnable(tiny_model("gpt2", **GPT2), Trained(lora=Lora()), seed=0))


def test_a_new_head_is_learnt_beside_an_adapter() -> None:
    model = tiny_encoder("bert", labels=("a", "b"))
    found = trainable(make_learnable(model, Trained(lora=Lora()), seed=0, new_head=["classifier"]))
    assert any("classifier.modules_to_save" in name for name in found)
    assert not any("pooler" in name for name in found)


def test_layers_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match="the base has 2 layers"):
        make_learnable(tiny_model(), Trained(top_layers=3), seed=0)
    with pytest.raises(ConfigError, match="no linear layer 'query'; it has down_proj"):
        make_learnable(tiny_model(), Trained(lora=Lora(targets=("query",))), seed=0)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("llama", {"attention_dropout"}),
        ("gpt2", {"attn_pdrop", "embd_pdrop", "resid_pdrop", "summary_first_dropout"}),
        ("bert", {"attention_probs_dropout_prob", "classifier_dropout", "hidden_dropout_prob"}),
        ("distilbert", {"attention_dropout", "dropout", "qa_dropout", "seq_classif_dropout"}),
    ],
)
def test_dropout_is_set_everywhere(kind: str, names: set[str]) -> None:
    config, before = AutoConfig.for_model(kind), AutoConfig.for_model(kind)
    set_dropout(config, 0.37)
    changed = {name for name, value in vars(config).items() if value != vars(before).get(name)}
    assert changed == names
    assert {getattr(config, name) for name in names} == {0.37}


def test_a_base_without_dropout_is_refused() -> None:
    with pytest.raises(ConfigError, match="a base of type mamba has none"):
        set_dropout(AutoConfig.for_model("mamba"), 0.1)
