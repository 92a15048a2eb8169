"""Families for tests of preparation: a token is a word. One packs, as causal LMs do; the other has labels.

What preparation does not ask of a trainer, they do not have.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raygen.errors import ConfigError, RowError
from raygen.models import families
from raygen.train.families.text_units import TextExample, TextUnits
from raygen.train.recipe import Recipe


class WholeWords:
    units = TextUnits()
    packs = True

    def __init__(self, recipe: Recipe, directory: Path, labels: tuple[str, ...] | None) -> None:
        self.recipe = recipe
        self.labels = labels

    def find_labels(self, values: Mapping[Any, int]) -> tuple[str, ...] | None:
        return None

    def encode(self, row_id: str, row: Mapping[str, Any]) -> TextExample:
        words = self._words(row["text"])
        return TextExample(row_id, words, [-100, *words[1:]])

    def _words(self, text: str | None) -> list[int]:
        if not text:
            raise RowError("missing_value", "no text")
        words = [zlib.crc32(word.encode()) % 2**31 for word in text.split()]
        if len(words) > self.recipe.batch.unit_cost:
            raise RowError("too_long", f"{len(words)} words")
        return words


class LabelledWords(WholeWords):
    packs = False

    def encode(self, row_id: str, row: Mapping[str, Any]) -> TextExample:
        assert self.labels is not None
        label = row[self.recipe.objective.label_column or ""]
        if label not in self.labels:
            raise RowError("unknown_label", f"label {label!r}")
        return TextExample(row_id, self._words(row["text"]), [self.labels.index(label)])

    def find_labels(self, values: Mapping[Any, int]) -> tuple[str, ...]:
        if len(values) < 2:
            raise ConfigError("objective.label: fewer than two labels")
        return tuple(sorted(values))


def register() -> None:
    families.CausalLM.trainer = "tests.train.whole_words:WholeWords"
    families.Classifier.trainer = "tests.train.whole_words:LabelledWords"
