"""Tiny tokenizers as SentencePiece models have them: spaces are ▁, what is no token is bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fakes.tiny_llama import CHAT_TEMPLATE, EOS, tiny_model

KINDS = ("llama", "gemma")


def sentencepiece_tokenizer(kind: str) -> Any:
    """A tokenizer like Llama 2's, which drops a text's first space as it decodes, or like Gemma's, which keeps it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    specials = ["<unk>", EOS, "<s>"]
    letters = [chr(code) for code in range(33, 127)] + ["▁", "é"]
    pairs = [
        ("▁", "y"),
        ("▁y", "e"),
        ("▁ye", "s"),
        ("y", "e"),
        ("ye", "s"),
        ("n", "o"),
        ("▁", "▁"),
        ('"', ":"),
    ]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    words = [*specials, *fallback, *letters, *("".join(pair) for pair in pairs)]
    backend = Tokenizer(
        models.BPE({word: n for n, word in enumerate(words)}, pairs, unk_token="<unk>", byte_fallback=True)
    )
    parts: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if kind == "llama":
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        parts.append(decoders.Strip(content=" ", left=1))
    else:
        backend.normalizer = normalizers.Replace(" ", "▁")
        backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence(parts)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token=EOS,
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens(["<custom>", "  added  "])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save_sentencepiece(folder: Path, kind: str, more: int = 0) -> Path:
    """Write a model directory; the model has `more` logits than there are tokens."""
    tokenizer = sentencepiece_tokenizer(kind)
    model = tiny_model(vocab_size=len(tokenizer) + more, bos_token_id=2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
