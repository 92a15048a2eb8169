"""Tiny random encoders with a tokenizer, made on the spot: embedders and classifiers of several architectures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIZES = {
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,  # large, so that different texts get quite different numbers
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
}
KINDS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"max_position_embeddings": 130, "pad_token_id": 1},  # positions count from 2
    "distilbert": {"dim": 48, "hidden_dim": 72, "n_layers": 2, "n_heads": 4},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 16,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
    },
    "modernbert": {"local_attention": 16, "global_attn_every_n_layers": 2, "num_hidden_layers": 3},
}


def tiny_encoder_tokenizer(max_tokens: int = 128) -> Any:
    """A byte-level tokenizer that puts [CLS] before a text and [SEP] behind each."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    ids = {word: index for index, word in enumerate(words)}
    backend = Tokenizer(models.BPE(ids, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=max_tokens,
    )


def tiny_encoder(kind: str = "bert", labels: Sequence[str] = (), seed: int = 0, **changes: Any) -> Any:
    """A random encoder in fp32; with labels, a classifier."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    settings = {
        **SIZES,
        "vocab_size": len(tiny_encoder_tokenizer()),
        "pad_token_id": 1,
        **KINDS.get(kind, {}),
    }
    if labels:
        settings["id2label"] = dict(enumerate(labels))
        settings["label2id"] = {label: index for index, label in enumerate(labels)}
    config = AutoConfig.for_model(kind, **{**settings, **changes})
    torch.manual_seed(seed)
    model = (AutoModelForSequenceClassification if labels else AutoModel).from_config(config)
    return model.eval()


def save_encoder(folder: Path, model: Any, max_tokens: int = 128) -> Path:
    """Write a model directory."""
    model.save_pretrained(folder)
    tiny_encoder_tokenizer(max_tokens).save_pretrained(folder)
    return folder


def save_sentence_files(
    folder: Path, pooling: dict[str, Any], *modules: str, settings: dict[str, Any] | None = None
) -> None:
    """Write what sentence-transformers writes beside a model: Transformer, Pooling, then `modules`."""
    kinds = ["Transformer", "Pooling", *modules]
    paths = ["", *(f"{index}_{kind}" for index, kind in enumerate(kinds) if index)]
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
                for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
            ]
        )
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if settings is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps(settings))
