"""GGUF: a model in one file, quantised or not, converted once to safetensors and a tokenizer."""

from __future__ import annotations

import logging
from pathlib import Path

from raygen.errors import ModelReferenceError, first_line

log = logging.getLogger(__name__)

MAGIC = b"GGUF"


def convert_gguf(source: Path, target: Path, where: str) -> None:
    """Write the model of a GGUF file into `target`: config, weights in bfloat16, tokenizer, chat template.

    Raises:
        ModelReferenceError: it is no GGUF file, or of a kind that transformers cannot read.
    """
    with source.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ModelReferenceError(f"{where}: {source.name} is no GGUF file")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    log.info(f"converting {source.name} to safetensors, once")
    logging.disable_progress_bar()
    folder, name = str(source.parent), source.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            gguf_file=name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(gguf_file=name, dequantize=True),
            local_files_only=True,
        )
    except Exception as error:  # readers of foreign formats fail in every way there is
        raise ModelReferenceError(f"{where}: transformers cannot read {name}: {first_line(error)}") from error
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
