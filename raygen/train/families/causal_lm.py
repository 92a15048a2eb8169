"""Causal LM: learns to continue text. Prompt and completion, chat messages, or plain text; several examples a sequence."""

# Shape letters: U = units of a block, T = tokens of its longest one, N = targets, V = vocabulary, H = hidden width.

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM

from raygen.errors import ConfigError
from raygen.models.text.chat_template import TemplateRules, reads_clock
from raygen.models.text.chat_tokenizer import context_of, load_chat_tokenizer
from raygen.train.families.base import Evaluated, Meter, Trainer, Worst
from raygen.train.families.base_model import (
    check_length,
    check_metric,
    described,
    is_generative,
    make_empty,
    read_config,
    read_tokenizer,
    read_weights,
    save_model,
    some,
)
from raygen.train.families.chat_examples import ChatExamples
from raygen.train.families.learnable import find_layers, lora_targets, make_learnable, set_dropout
from raygen.train.families.text_units import IGNORED, TextExample, TextUnits
from raygen.train.recipe import Recipe

# Model types that keep packed examples apart where positions start again, each held to it by a test. Others are not packed.
PACKABLE = frozenset(
    {
        "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "gpt2",
        "gpt_neox", "phi", "phi3", "olmo2", "olmo3", "granite", "smollm3",
        "stablelm", "starcoder2", "cohere", "cohere2", "glm4", "exaone4",
    }
)  # fmt: skip
ATTENTIONS = {"full_attention", "sliding_attention"}
ROPES = {"dynamic", "longrope"}  # their frequencies depend on the longest example beside


class CausalLMTrainer(Trainer):
    """How language models learn: the next token of what bears loss."""

    units = TextUnits()

    def __init__(self, recipe: Recipe, directory: Path, labels: tuple[str, ...] | None = None) -> None:
        super().__init__(recipe, directory, labels)
        self.check_base(directory)
        self._config = read_config(directory)
        self.packs = keeps_apart(self._config)
        date = str(recipe.date) if recipe.date is not None else None
        self._chat = load_chat_tokenizer(str(directory), TemplateRules(date, recipe.template or {}))
        self._examples = ChatExamples(recipe, self._chat)

    @classmethod
    def check_base(cls, directory: Path) -> None:
        config = read_config(directory)
        if not is_generative(config):
            raise ConfigError(
                f"base: family causal_lm continues text, and {directory} is {described(config)}; "
                "name a language model, or set family: classifier"
            )

    def check(self) -> None:
        check_metric(self.recipe, {"loss", "perplexity"})
        check_length(self.recipe, context_of(self._config))
        self._examples.check()
        if self.recipe.date is not None and not reads_clock(self.directory):
            raise ConfigError("date: the base's chat template prints none; leave it out")
        model = make_empty(AutoModelForCausalLM, self._prepared_config())
        trained = self.recipe.trained
        if trained.lora is not None:
            lora_targets(model, trained.lora.targets)
        elif trained.top_layers is not None:
            make_learnable(model, trained, seed=0)
        else:
            find_layers(model)

    def encode(self, row_id: str, row: Mapping[str, Any]) -> TextExample:
        return self._examples.encode(row_id, row)

    def load_model(self, device: torch.device) -> torch.nn.Module:
        model, missing = read_weights(AutoModelForCausalLM, self.directory, self._prepared_config())
        if missing:
            raise ConfigError(
                f"base: {self.directory} is no whole language model: it has no weights for {some(missing)}"
            )
        found: torch.nn.Module = make_learnable(model, self.recipe.trained, seed=self.recipe.seed)
        return found.to(device)

    def _prepared_config(self) -> Any:
        config = read_config(self.directory)
        if self.recipe.dropout is not None:
            set_dropout(config, self.recipe.dropout)
        return config

    def collate(self, block: pa.Table, device: torch.device) -> dict[str, torch.Tensor]:
        """Return a block's tensors.

        These are input_ids (U, T); positions (U, T), from 0 in every example; `chosen` (U, T), whose next token is a target;
        `labels` (N,), those targets. Families of models that are not packed: attention_mask (U, T) for positions.
        """
        units = block.to_pylist()
        longest = max(len(unit["input_ids"]) for unit in units)
        ids_UT = torch.zeros((len(units), longest), dtype=torch.long)
        targets_UT = torch.full((len(units), longest), IGNORED)
        seen_UT = torch.zeros((len(units), longest), dtype=torch.long)
        positions_UT = torch.zeros((len(units), longest), dtype=torch.long)
        for row, unit in enumerate(units):
            size = len(unit["input_ids"])
            ids_UT[row, :size] = torch.tensor(unit["input_ids"])
            targets_UT[row, :size] = torch.tensor(unit["targets"])
            seen_UT[row, :size] = 1
            # Padding goes on counting: it comes last, so no example sees it.
            starts = [0]
            for length in unit["lengths"][:-1]:
                starts.append(starts[-1] + length)
            for start in starts:
                positions_UT[row, start:] = torch.arange(longest - start)
        next_UT = torch.nn.functional.pad(targets_UT[:, 1:], (0, 1), value=IGNORED)
        chosen_UT = next_UT != IGNORED
        batch = {"input_ids": ids_UT, "chosen": chosen_UT, "labels": next_UT[chosen_UT]}
        batch |= {"position_ids": positions_UT} if self.packs else {"attention_mask": seen_UT}
        return {name: tensor.to(device) for name, tensor in batch.items()}

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return token_losses(model, batch).sum()

    def new_meter(self) -> Meter:
        return PerplexityMeter(self)

    def save(self, model: torch.nn.Module, directory: Path, temperature: float | None = None) -> None:
        lora = self.recipe.trained.lora
        save_model(model, read_tokenizer(self.directory), directory, merge=lora is not None and lora.merge)

    def text_of(self, ids: list[int]) -> str:
        """Return tokens as text, special ones too."""
        text: str = self._chat.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return text


def keeps_apart(config: Any) -> bool:
    """Return whether models of this config compute packed examples as if each were alone."""
    if config.model_type not in PACKABLE or not ATTENTIONS.issuperset(
        getattr(config, "layer_types", None) or ()
    ):
        return False
    rope = getattr(config, "rope_parameters", None) or {}
    parameters = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    return not any(each.get("rope_type") in ROPES for each in parameters)


def token_losses(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the loss of every target in nats, float32 (N,), in the order of `labels`."""
    inputs = {name: tensor for name, tensor in batch.items() if name not in ("chosen", "labels")}
    with _chosen_only(model, batch["chosen"]):
        logits_1NV = model(**inputs, use_cache=False).logits
    # A model that does not call its head as a module comes with all of them.
    heeded = logits_1NV.shape[1] == len(batch["labels"])
    logits_NV = logits_1NV[0] if heeded else logits_1NV[batch["chosen"]]
    return torch.nn.functional.cross_entropy(logits_NV.float(), batch["labels"], reduction="none")


@contextmanager
def _chosen_only(model: Any, chosen_UT: torch.Tensor) -> Iterator[None]:
    """Let the head see the chosen tokens only: logits over the vocabulary are most of a batch's memory."""
    head = model.get_output_embeddings()

    def choose(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden_UTH, *rest = inputs
        return (hidden_UTH[chosen_UT][None], *rest)

    handle = head.register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()


class PerplexityMeter(Meter):
    """`loss` in nats a target, and `perplexity`, e to the loss; both are better when lower."""

    def __init__(self, trainer: CausalLMTrainer) -> None:
        self._trainer = trainer
        self._loss = 0.0
        self._targets = 0
        self._worst = Worst(trainer.recipe.evaluation.worst)

    def add(self, model: torch.nn.Module, block: pa.Table, device: torch.device) -> None:
        batch = self._trainer.collate(block, device)
        losses = iter(token_losses(model, batch).double().tolist())
        for unit in block.to_pylist():
            start = 0
            for row_id, length in zip(unit["row_ids"], unit["lengths"], strict=True):
                part = slice(start, start + length)
                targets = sum(target != IGNORED for target in unit["targets"][part])
                loss = sum(next(losses) for _ in range(targets))
                self._loss += loss
                self._targets += targets
                ids = unit["input_ids"][part]
                self._worst.add(row_id, loss / max(1, targets), partial(self._describe, ids))
                start += length

    def _describe(self, ids: list[int]) -> dict[str, Any]:
        return {"text": self._trainer.text_of(ids)}

    def state(self) -> Any:
        return self._loss, self._targets, self._worst.rows

    def merge(self, state: Any) -> None:
        loss, targets, rows = state
        self._loss += loss
        self._targets += targets
        self._worst.merge(rows)

    def result(self, temperature: float | None = None) -> Evaluated:
        loss = self._loss / max(1, self._targets)
        perplexity = math.exp(loss) if loss < 700 else math.inf
        return Evaluated(
            {"loss": loss, "perplexity": perplexity}, {"targets": self._targets}, self._worst.rows
        )
