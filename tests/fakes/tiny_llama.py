"""Tiny random models and their tokenizer, made on the spot: a directory like any other model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

EOS, USER, ASSISTANT = "</s>", "<|user|>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|user|>' if message.role == 'user' else '<|assistant|>' }}"
    "{{ message.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 160,
    "initializer_range": 0.4,  # large, so that a random model's most probable tokens vary
}


def tiny_tokenizer(chat_template: str | None = CHAT_TEMPLATE) -> Any:
    """A byte-level tokenizer: any text goes in and comes out; some pairs of letters are one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pairs = [("t", "h"), ("a", "n"), ("i", "n"), ("Ġ", "a"), ("th", "e"), ("x", "y")]
    specials = ["<s>", EOS, USER, ASSISTANT]
    words = [*specials, *alphabet, *("".join(pair) for pair in pairs)]
    backend = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, pairs))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token=EOS,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def tiny_model(kind: str = "llama", seed: int = 0, **changes: Any) -> Any:
    """A random causal LM of a transformers model type, in fp32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = {**SIZES, "vocab_size": len(tiny_tokenizer()), "eos_token_id": 1, "bos_token_id": 0, **changes}
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()


def save_tiny(folder: Path, model: Any = None, chat_template: str | None = CHAT_TEMPLATE) -> Path:
    """Write a model directory."""
    (model if model is not None else tiny_model()).save_pretrained(folder)
    tiny_tokenizer(chat_template).save_pretrained(folder)
    return folder


def know_more(folder: Path, *words: str) -> Path:
    """Give a directory's tokenizer special tokens that its model has no rows for."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(list(words), special_tokens=True)
    tokenizer.save_pretrained(folder)
    return folder
