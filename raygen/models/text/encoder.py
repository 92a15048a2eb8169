"""The encoder families: sentence embedders and sequence classifiers, transformers models that read whole texts at once."""

# Shape letters: B = texts of a batch, L = their padded length, H = hidden width, W = what comes out a text: H or labels.

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils import logging

from raygen.errors import EngineConfigError, EngineError, RowError, first_line
from raygen.models.stable.products import StableProducts
from raygen.models.stable.rows import stabilise_rows
from raygen.models.text.causal_lm import compute_dtype
from raygen.models.text.chat_tokenizer import check_known
from raygen.models.text.private import takes_attention
from raygen.models.text.quantised import in_full
from raygen.models.text.sentence_files import Pooling, SentenceFiles, read_sentence_files

ATTENTION = "raygen_encoder"
NO_LIMIT = 10**6  # tokenizers that know no limit say a larger one
Tokens = dict[str, list[int]]  # input_ids, and token_type_ids where the model has them


def _sdpa_mask(*arguments: Any, **settings: Any) -> Any:
    """Make the mask always: without one where a batch happens to need none, another kernel gives other bits."""
    return sdpa_mask(
        *arguments, **{**settings, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    )


def _text_by_text(
    module: Any, query_BKLD: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **settings: Any
) -> tuple[torch.Tensor, None]:
    """Attention whose kernel never depends on the batch: of 16-bit numbers, torch on a CPU decides by its size how to go on."""
    if query_BKLD.shape[0] == 1 or not _decided_by_batch(query_BKLD):
        attended: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query_BKLD, key, value, mask, **settings
        )
        return attended
    mask = mask.expand(query_BKLD.shape[0], *mask.shape[1:])
    texts = zip(query_BKLD.split(1), key.split(1), value.split(1), mask.split(1), strict=True)
    return torch.cat([sdpa_attention_forward(module, *text, **settings)[0] for text in texts]), None


def _decided_by_batch(tensor: torch.Tensor) -> bool:
    return bool(tensor.device.type == "cpu" and tensor.itemsize == 2)


AttentionInterface.register(ATTENTION, _text_by_text)
AttentionMaskInterface.register(ATTENTION, _sdpa_mask)


@dataclass(slots=True)
class Encoder:
    model: Any  # a transformers PreTrainedModel in evaluation mode
    products: StableProducts
    tokenizer: Any
    limit: int  # tokens that the model can read
    usual_limit: int  # tokens that its makers let it read; at most `limit`
    longest: int | None  # padded lengths end here: there are no more positions; None: there is no such limit
    inputs: frozenset[str]  # what the model takes of what a tokenizer makes
    rows: int  # of its embedding: tokens from there on are none of its own
    own_attention: bool = False  # the model class brings its own, which no other can take the place of
    lower_case: bool = False
    pooling: Pooling | None = None  # of an embedder
    normalize: bool = False
    labels: tuple[str, ...] = ()  # of a classifier
    multi_label: bool = False  # labels do not exclude each other: a probability for each by itself

    def encode(self, text: str | tuple[str, str], cut_at: int | None) -> Tokens:
        """Return the tokens of a text or a pair of texts, special ones included.

        Args:
            cut_at: keep so many tokens at most, special ones included; of a pair the longer text is cut. None: keep all.

        Raises:
            RowError: `invalid_text`, it is no text, or has a token that the model does not know; `empty_text`, it has no
                tokens and the tokenizer adds none.
        """
        parts = [text] if isinstance(text, str) else list(text) if isinstance(text, tuple | list) else []
        if len(parts) not in (1, 2) or not all(isinstance(part, str) for part in parts):
            raise RowError("invalid_text", f"a text, or a pair of texts, is needed; not {text!r:.80}")
        if self.lower_case:
            parts = [part.lower() for part in parts]
        cut: dict[str, Any] = {} if cut_at is None else {"truncation": "longest_first", "max_length": cut_at}
        try:
            encoded = self.tokenizer(*parts, return_attention_mask=False, verbose=False, **cut)
        except Exception as error:  # lone surrogates, and whatever else a tokenizer refuses
            raise RowError(
                "invalid_text",
                f"the tokenizer refuses the text: {first_line(error)}",
                public="the model's tokenizer refuses the text",
            ) from error
        if not encoded["input_ids"]:
            raise RowError("empty_text", "the text has no tokens, and the tokenizer adds none")
        check_known(encoded["input_ids"], self.rows, self.tokenizer)
        return {name: list(ids) for name, ids in encoded.items() if name in self.inputs}

    @torch.inference_mode()
    def run(self, batch: Sequence[Tokens], length: int) -> np.ndarray:
        """Compute a batch.

        Args:
            length: to which every text is padded; it decides a text's last bits, so it must follow from the text alone.

        Returns:
            float32 (B, W): vectors, or logits.
        """
        weight = next(self.model.parameters())
        if len(batch) > 1 and self.own_attention and _decided_by_batch(weight):
            return np.concatenate([self.run([text], length) for text in batch])
        device = weight.device
        inputs = {
            name: self._padded([tokens[name] for tokens in batch], length, self._filler(name)).to(device)
            for name in batch[0]
        }
        sizes = [len(tokens["input_ids"]) for tokens in batch]
        mask_BL = self._padded([[1] * size for size in sizes], length, 0).to(device)
        with self.products.watching():
            output = self.model(**inputs, attention_mask=mask_BL)
        if self.pooling is None:
            return np.asarray(output.logits.float().cpu().numpy())
        hidden_BLH = output.last_hidden_state
        pooled = [self._pooled(hidden_BLH[row, :size]) for row, size in enumerate(sizes)]
        vectors = torch.stack(pooled).cpu().numpy()
        return _unit_rows(vectors) if self.normalize else vectors

    def _pooled(self, hidden_LH: torch.Tensor) -> torch.Tensor:
        """Return a text's one vector; text by text, so that no sum depends on the batch."""
        if self.pooling == "cls":
            return hidden_LH[0].float()
        if self.pooling == "lasttoken":
            return hidden_LH[-1].float()
        return hidden_LH.float().mean(0)

    def _filler(self, name: str) -> int:
        if name == "token_type_ids":
            return 0
        known = (self.tokenizer.pad_token_id, self.model.config.get_text_config().pad_token_id)
        return next((token for token in known if token is not None), 0)

    def _padded(self, rows: list[list[int]], length: int, filler: int) -> torch.Tensor:
        return torch.tensor([row + [filler] * (length - len(row)) for row in rows])


def load_embedder(
    path: str, dtype: str, device: str, pooling: Pooling | None = None, normalize: bool | None = None
) -> Encoder:
    """Load a sentence embedder from a directory; see `_load` for the rest.

    Args:
        pooling, normalize: win over what the directory says; None: as it says, else the mean, not normalised.

    Raises:
        EngineConfigError: the directory holds no embedder, or one of a kind that raygen does not know.
        EngineError: transformers cannot load it.
    """
    files = read_sentence_files(Path(path), pooling)
    model, tokenizer, missing = _load(AutoModel, path, dtype, device)
    # The pooler's output is not used here, and many embedders come without one.
    missing = [name for name in missing if not name.startswith("pooler.")]
    if missing:
        raise EngineConfigError(f"{path} is no whole embedder: it has no weights for {_some(missing)}")
    encoder = _encoder(model, tokenizer, files)
    encoder.pooling = files.pooling
    encoder.normalize = files.normalize if normalize is None else normalize
    return encoder


def load_classifier(path: str, dtype: str, device: str) -> Encoder:
    """Load a sequence classifier from a directory; see `_load` for the rest.

    Raises:
        EngineConfigError: the directory holds no classifier, or a regression; its labels are not distinct.
        EngineError: transformers cannot load it.
    """
    model, tokenizer, missing = _load(AutoModelForSequenceClassification, path, dtype, device)
    if missing:
        raise EngineConfigError(f"{path} is no classifier: it has no weights for {_some(missing)}")
    config = model.config
    if config.problem_type == "regression":
        raise EngineConfigError(f"{path} is a regression model: it has no probabilities")
    labels = tuple(str(config.id2label[index]) for index in range(config.num_labels))
    if len(set(labels)) != len(labels):
        raise EngineConfigError(f"{path}: config.json names a label twice: {', '.join(labels)}")
    encoder = _encoder(model, tokenizer, SentenceFiles())
    encoder.labels = labels
    # One label by itself can only be more or less probable; transformers' own pipeline does the same.
    encoder.multi_label = config.problem_type == "multi_label_classification" or len(labels) == 1
    return encoder


def _load(auto: Any, path: str, dtype: str, device: str) -> tuple[Any, Any, list[str]]:
    """Load a directory: config.json, safetensors and tokenizer; nothing in it is ever run.

    Args:
        dtype: `bfloat16`, `float16` or `float32`: of the weights, and of the computation unless `compute_dtype` says float32.

    Returns:
        Model, tokenizer, and the names of weights that the model has and the directory has not.
    """
    logging.disable_progress_bar()  # one bar an actor would only fill the logs
    local: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    try:
        config = AutoConfig.from_pretrained(path, **local)
        if config.is_encoder_decoder:
            raise EngineConfigError(f"{path} is an encoder with a decoder ({config.model_type}): not known")
        tokenizer = AutoTokenizer.from_pretrained(path, **local)
        loaded = partial(
            auto.from_pretrained,
            path,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
            **in_full(path),
            **local,
        )
        try:
            model, report = loaded(attn_implementation=ATTENTION)
        except (KeyError, ValueError):  # a model class that brings its own attention only
            model, report = loaded(attn_implementation="eager")
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise EngineError(f"cannot load an encoder from {path}: {first_line(error)}") from error
    model.to(device, getattr(torch, compute_dtype(dtype, device))).eval()
    return model, tokenizer, sorted(report["missing_keys"])


def _encoder(model: Any, tokenizer: Any, files: SentenceFiles) -> Encoder:
    """Make the model's rows stable, and find how long texts may be: the least of what weights, config and tokenizer say."""
    products = StableProducts(model.device)
    stabilise_rows(model, products)
    limits, longest = [], None
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.endswith("position_embeddings"):
            # RoBERTa's kind counts positions from behind the padding token's id.
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            longest = module.num_embeddings - offset
            limits.append(longest)
    config = model.config.get_text_config()
    if not limits and getattr(config, "max_position_embeddings", None):
        limits.append(int(config.max_position_embeddings))
    if tokenizer.model_max_length < NO_LIMIT:
        limits.append(int(tokenizer.model_max_length))
    limit = min(limits, default=512)
    inputs = {"input_ids", "token_type_ids"}.intersection(inspect.signature(model.forward).parameters)
    if (
        getattr(config, "type_vocab_size", 2) < 2
    ):  # it does not tell a pair's texts apart, whatever its tokenizer says
        inputs.discard("token_type_ids")
    return Encoder(
        model,
        products,
        tokenizer,
        limit,
        min(limit, files.max_tokens or limit),
        longest,
        frozenset(inputs),
        model.get_input_embeddings().weight.shape[0],
        not takes_attention(model),
        files.lower_case,
    )


def _unit_rows(vectors_BW: np.ndarray) -> np.ndarray:
    """Return rows of length 1; row by row, so that no sum depends on the batch. Zeros stay zeros."""
    lengths = [np.sqrt(np.square(row, dtype=np.float64).sum()) for row in vectors_BW]
    return np.stack(
        [
            (row / max(length, 1e-12)).astype(np.float32)
            for row, length in zip(vectors_BW, lengths, strict=True)
        ]
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
