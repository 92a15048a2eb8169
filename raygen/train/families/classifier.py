"""Classifier: learns to label a text, or a pair of texts (a reasoner: premise and hypothesis), on an encoder."""

# Shape letters: U = texts of a block, T = tokens of the longest one, C = labels, N = rows of a split.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from raygen.errors import ConfigError, RowError, first_line
from raygen.metrics.calibration import fit_temperature
from raygen.metrics.classification import classification_metrics
from raygen.models.text.chat_tokenizer import check_known, rows_of
from raygen.train.families.base import Block, Evaluated, Meter, Trainer, Worst
from raygen.train.families.base_model import (
    NO_LIMIT,
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
from raygen.train.families.head import final_layer, final_layers, name_of
from raygen.train.families.labels import Labels
from raygen.train.families.learnable import lora_targets, make_learnable, set_dropout
from raygen.train.families.text_lessons import ClassifierObjective
from raygen.train.families.text_units import TextExample, TextUnits
from raygen.train.recipe import Recipe

POOLERS = ("pooler", "pre_classifier")  # between encoder and head; many encoders come without one
UNNAMED = "LABEL_"  # how transformers calls labels without names


class ClassifierTrainer(Trainer):
    """How encoders learn to label texts and pairs of texts."""

    units = TextUnits()
    higher_is_better: ClassVar[frozenset[str]] = frozenset(
        {"accuracy", "macro_f1", "weighted_f1", "macro_precision", "macro_recall"}
    )

    def __init__(self, recipe: Recipe, directory: Path, labels: tuple[str, ...] | None = None) -> None:
        objective = recipe.objective
        assert isinstance(objective, ClassifierObjective)
        super().__init__(recipe, directory, labels or objective.labels)
        self._objective = objective
        self.check_base(directory)
        self._config = read_config(directory)
        self._tokenizer = read_tokenizer(directory)
        self._templates = list(objective.templates().values())
        self._label = objective.label
        self._labels = Labels(self.labels, self._label) if self.labels else None

    @classmethod
    def check_base(cls, directory: Path) -> None:
        config = read_config(directory)
        if (
            is_generative(config)
            or config.is_encoder_decoder
            or config.model_type not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
        ):
            raise ConfigError(
                f"base: family classifier wants an encoder, and {directory} is {described(config)}; "
                "name an encoder such as BERT's kind" + (", or set family: causal_lm" * is_generative(config))
            )

    def check(self) -> None:
        check_metric(self.recipe, {"loss", "ece", *self.higher_is_better})
        check_length(self.recipe, _limit(self._config, self._tokenizer))
        model = make_empty(AutoModelForSequenceClassification, self._prepared_config())
        trained = self.recipe.trained
        if trained.lora is not None:
            lora_targets(model, trained.lora.targets)
        else:
            make_learnable(model, trained, seed=0)

    def find_labels(self, values: Mapping[Any, int]) -> tuple[str, ...] | None:
        return self._objective.labels or Labels.found(values, self._label, self._own_labels())

    def encode(self, row_id: str, row: Mapping[str, Any]) -> TextExample:
        assert self._labels is not None  # found before rows are encoded
        texts = [template.render(row) for template in self._templates]
        label = self._labels.number_of(row.get(self._label))
        most = self.recipe.batch.unit_cost
        cut: dict[str, Any] = {}
        if self.recipe.preparation.too_long == "cut":
            cut = {"truncation": "longest_first", "max_length": most}
        try:
            encoded = self._tokenizer(*texts, return_attention_mask=False, verbose=False, **cut)
        except Exception as error:  # lone surrogates, and whatever else a tokenizer refuses
            raise RowError("invalid_text", f"the tokenizer refuses the text: {first_line(error)}") from error
        ids = list(encoded["input_ids"])
        if not ids:
            raise RowError("invalid_text", "the text has no tokens, and the tokenizer adds none")
        check_known(ids, rows_of(self._config), self._tokenizer)
        if len(ids) > most:
            raise RowError("too_long", f"{len(ids)} tokens; batch.max_tokens allows {most}")
        types = list(encoded.get("token_type_ids", ()))
        return TextExample(row_id, ids, [label], types if self._knows_types() else [])

    def load_model(self, device: torch.device) -> torch.nn.Module:
        torch.manual_seed(self.recipe.seed)  # of a new head's weights
        model, missing = read_weights(
            AutoModelForSequenceClassification, self.directory, self._prepared_config(),
            ignore_mismatched_sizes=True,
        )  # fmt: skip
        prefix = f"{model.base_model_prefix}."
        lost = [
            name
            for name in missing
            if name.startswith(prefix) and not name.removeprefix(prefix).startswith(POOLERS)
        ]
        if lost:
            raise ConfigError(
                f"base: {self.directory} is no whole encoder: it has no weights for {some(lost)}"
            )
        head = final_layer(model)
        if not missing and self._own_labels() != self.labels:  # as many labels, but others
            nn.init.normal_(head.weight, std=getattr(model.config, "initializer_range", 0.02))
            missing = [name for name, weight in model.named_parameters() if weight is head.weight]
            if head.bias is not None:
                nn.init.zeros_(head.bias)
        new_head = sorted({name.rpartition(".")[0] for name in missing} | {name_of(model, head)})
        found: torch.nn.Module = make_learnable(
            model, self.recipe.trained, seed=self.recipe.seed, new_head=new_head
        )
        return found.to(device)

    def collate(self, block: pa.Table, device: torch.device) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask and, if the model knows them, token_type_ids, each (U, T); labels (U,)."""
        ids = block.column("input_ids").to_pylist()
        filler = self._tokenizer.pad_token_id
        if filler is None:
            filler = getattr(self._config, "pad_token_id", None) or 0
        batch = {
            "input_ids": _padded(ids, filler),
            "attention_mask": _padded([[1] * len(each) for each in ids], 0),
            "labels": torch.tensor([targets[0] for targets in block.column("targets").to_pylist()]),
        }
        types = block.column("type_ids").to_pylist()
        if types[0]:
            batch["token_type_ids"] = _padded(types, 0)
        return {name: tensor.to(device) for name, tensor in batch.items()}

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        smoothing = self._objective.label_smoothing
        return nn.functional.cross_entropy(
            logits_of(model, batch), batch["labels"], reduction="sum", label_smoothing=smoothing
        )

    def new_meter(self) -> Meter:
        return ClassifierMeter(self)

    def baselines(
        self,
        blocks: Mapping[str, Sequence[Block]],
        split: str,
        read: Callable[[str, list[int]], Iterator[pa.Table]],
    ) -> dict[str, dict[str, Any]]:
        from raygen.train.families.baselines import drawn, measure_baselines, texts_of

        names, paired = self.labels or (), self._objective.pair is not None
        train, test = (
            texts_of(read(part, drawn(blocks[part], len(names))), names, self._tokenizer, paired=paired)
            for part in ("train", split)
        )
        return measure_baselines(train, test, names, sum(block.units for block in blocks[split]))

    def save(self, model: torch.nn.Module, directory: Path, temperature: float | None = None) -> None:
        """Save the model. The temperature goes into its last layer, so that the directory gives calibrated probabilities.

        An adapter is always saved merged as well: its head is new, and only a whole classifier has one.
        """
        if temperature is not None:
            with torch.no_grad():
                for layer in final_layers(model):
                    layer.weight /= temperature
                    if layer.bias is not None:
                        layer.bias /= temperature
        save_model(model, self._tokenizer, directory, merge=True)

    def text_of(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _prepared_config(self) -> Any:
        config = read_config(self.directory)
        if self.recipe.dropout is not None:
            set_dropout(config, self.recipe.dropout)
        names = self.labels or tuple(f"{UNNAMED}{number}" for number in range(2))
        config.id2label = dict(enumerate(names))
        config.label2id = {name: number for number, name in enumerate(names)}
        config.problem_type = "single_label_classification"
        return config

    def _own_labels(self) -> tuple[str, ...] | None:
        """Return the labels of the base's own head, None if it has none, or they have no names."""
        config = self._config
        names = tuple(str(config.id2label[number]) for number in range(config.num_labels))
        headed = any(name.endswith("ForSequenceClassification") for name in config.architectures or ())
        return names if headed and not all(name.startswith(UNNAMED) for name in names) else None

    def _knows_types(self) -> bool:
        return getattr(self._config, "type_vocab_size", 0) > 1


class ClassifierMeter(Meter):
    """`loss` in nats a text; accuracy, precision, recall, F1 and calibration as evaluate.classification has them."""

    def __init__(self, trainer: ClassifierTrainer) -> None:
        self._trainer = trainer
        self._logits: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._worst = Worst(trainer.recipe.evaluation.worst)

    def add(self, model: torch.nn.Module, block: pa.Table, device: torch.device) -> None:
        batch = self._trainer.collate(block, device)
        logits_UC = logits_of(model, batch)
        losses_U = nn.functional.cross_entropy(logits_UC, batch["labels"], reduction="none").tolist()
        found_U = logits_UC.argmax(-1).tolist()
        for unit, loss, found in zip(block.to_pylist(), losses_U, found_U, strict=True):
            self._worst.add(unit["row_ids"][0], loss, partial(self._describe, unit, found))
        self._logits.append(logits_UC.cpu().numpy())
        self._labels.append(batch["labels"].cpu().numpy())

    def _describe(self, unit: Mapping[str, Any], found: int) -> dict[str, Any]:
        names = self._trainer.labels or ()
        text = self._trainer.text_of(unit["input_ids"])
        return {"text": text, "label": names[unit["targets"][0]], "predicted": names[found]}

    def state(self) -> Any:
        return self._logits, self._labels, self._worst.rows

    def merge(self, state: Any) -> None:
        logits, labels, rows = state
        self._logits += logits
        self._labels += labels
        self._worst.merge(rows)

    def temperature(self) -> float | None:
        return fit_temperature(np.concatenate(self._logits), np.concatenate(self._labels))

    def result(self, temperature: float | None = None) -> Evaluated:
        logits_NC = np.concatenate(self._logits).astype(np.float64) / (temperature or 1.0)
        labels_N = np.concatenate(self._labels)
        logs_NC = logits_NC - np.logaddexp.reduce(logits_NC, axis=1, keepdims=True)
        loss = float(-logs_NC[np.arange(len(labels_N)), labels_N].mean())
        found = classification_metrics(np.exp(logs_NC), labels_N, self._trainer.labels or ())
        return Evaluated({"loss": loss, **found.metrics}, found.details, self._worst.rows)


def logits_of(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return float32 (U, C)."""
    inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
    logits: torch.Tensor = model(**inputs).logits.float()
    return logits


def _padded(rows: list[list[int]], filler: int) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])


def _limit(config: Any, tokenizer: Any) -> int:
    """Return how many tokens the base reads: the least of what its config and tokenizer say."""
    positions = int(getattr(config, "max_position_embeddings", 0) or NO_LIMIT)
    # RoBERTa's kind counts positions from behind the padding token's id.
    if "roberta" in config.model_type or config.model_type in ("camembert", "mpnet"):
        positions -= 1 + (config.pad_token_id or 0)
    return min(positions, int(tokenizer.model_max_length))
