"""The causal LM family: a transformers model that continues text, its tokenizer, and where its texts end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from raygen.errors import EngineError, RowError
from raygen.models.messages import first_line


@dataclass(slots=True)
class CausalLM:
    model: Any  # a transformers PreTrainedModel in evaluation mode
    tokenizer: Any
    eos_ids: frozenset[int]
    context_tokens: int  # prompt and generated tokens together

    def encode(self, messages: list[dict[str, Any]]) -> list[int]:
        """Return the token ids of a chat, by the model's own template; without one, of the joined contents.

        Raises:
            RowError: `invalid_messages`, the template or the tokenizer refuses them; `empty_prompt`.
        """
        try:
            if self.tokenizer.chat_template:
                text = self.tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True
                )
                ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
            else:
                text = "\n".join(message["content"] for message in messages)
                ids = self.tokenizer(text)["input_ids"]
        except Exception as error:  # templates are programs of the model's maker: any error is possible
            raise RowError(
                "invalid_messages",
                f"the model's chat template or tokenizer refuses them: {first_line(error)}",
            ) from error
        if not ids:
            if self.tokenizer.bos_token_id is None:
                raise RowError(
                    "empty_prompt", "the prompt has no tokens, and the model has none to begin a text with"
                )
            ids = [self.tokenizer.bos_token_id]
        return list(ids)

    def decode(self, ids: list[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def token_text(self, token: int) -> str:
        """Return one token as text, special ones too; what is no text alone becomes a replacement character."""
        text: str = self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        return text

    def special_id(self, text: str) -> int | None:
        """Return the id of a special token by its text: `decode` leaves it out, so no search finds it."""
        found = self.tokenizer.get_added_vocab().get(text)
        return found if found is not None and self.tokenizer.added_tokens_decoder[found].special else None


def load_causal_lm(path: str, dtype: str, device: str, attention: str) -> CausalLM:
    """Load a model directory.

    Args:
        path: config.json, safetensors and tokenizer; nothing in it is ever run.
        dtype: `bfloat16`, `float16` or `float32`: of the weights, and of the computation unless `compute_dtype` says float32.
        device: a torch device.
        attention: name of a registered transformers attention function.

    Raises:
        EngineError: transformers cannot load it.
    """
    logging.disable_progress_bar()  # one bar an actor would only fill the logs
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise EngineError(f"cannot load a causal LM from {path}: {first_line(error)}") from error
    model.to(device, getattr(torch, compute_dtype(dtype, device))).eval()
    return CausalLM(model, tokenizer, _eos_ids(model, tokenizer), _context_tokens(model.config))


def compute_dtype(dtype: str, device: str) -> str:
    """Return what a device computes in.

    An x86 CPU without instructions for 16 bits takes five times longer for them: there it is float32.
    """
    if device != "cpu" or dtype == "float32":
        return dtype
    known = torch.cpu.get_capabilities()
    needed = ("avx512_bf16", "amx_bf16") if dtype == "bfloat16" else ("avx512_fp16", "amx_fp16")
    if known.get("architecture") == "x86_64" and not any(known.get(name) for name in needed):
        return "float32"
    return dtype


def _eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Union: chat models name the end of a turn in the generation config only, or in the tokenizer only."""
    named = [model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id]
    lists = [ids if isinstance(ids, list) else [ids] for ids in named if ids is not None]
    return frozenset(token for ids in lists for token in ids)


def _context_tokens(config: Any) -> int:
    text_config = config.get_text_config(decoder=True)
    context = int(getattr(text_config, "max_position_embeddings", 0) or 2048)
    rope = getattr(text_config, "rope_parameters", None) or {}
    for parameters in [rope, *(value for value in rope.values() if isinstance(value, dict))]:
        # These change all frequencies once any row of a batch is longer: rows would depend on each other.
        if parameters.get("rope_type") in ("dynamic", "longrope"):
            original = parameters.get("original_max_position_embeddings") or getattr(
                text_config, "original_max_position_embeddings", None
            )
            context = min(context, int(original or context))
    return context
