"""Baselines: how models without understanding do on a classifier's prepared blocks, beside what the trained one does."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from raygen.errors import MetricInputError
from raygen.metrics.baselines import majority_baseline, overlap_baseline, words_baseline
from raygen.metrics.classification import Classified
from raygen.train.families.base import Block

MOST_EXAMPLES = 20_000  # that a baseline sees of a split; of more, a draw of whole blocks
MOST_TOKENS = 2_000_000
MOST_SCORES = 1_000_000  # examples times classes: of many classes fewer examples are seen
SEED = "baselines"

logger = logging.getLogger(__name__)


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    sep_token_id: int | None

    def convert_ids_to_tokens(self, ids: list[int], skip_special_tokens: bool = ...) -> list[str]: ...

    def decode(self, ids: list[int], skip_special_tokens: bool = ...) -> str: ...


@dataclass(slots=True)
class Texts:
    """Examples of a split, as a baseline sees them."""

    labels: list[str] = field(default_factory=list)
    words: list[list[str]] = field(default_factory=list)  # tokens: of the second text, if there are two
    pairs: list[tuple[str, str]] = field(default_factory=list)  # none, unless every example is one


def drawn(blocks: Sequence[Block], classes: int) -> list[int]:
    """Return numbers of blocks, at random but always the same, that hold about as many examples as a baseline sees."""
    most = min(MOST_EXAMPLES, max(1, MOST_SCORES // classes))
    numbers = list(range(len(blocks)))
    random.Random(SEED).shuffle(numbers)
    units = tokens = 0
    for seen, number in enumerate(numbers):
        if units >= most or tokens >= MOST_TOKENS:
            return numbers[:seen]
        units += blocks[number].units
        tokens += blocks[number].cost
    return numbers


def texts_of(
    blocks: Iterable[pa.Table], names: Sequence[str], tokenizer: Tokenizer, *, paired: bool
) -> Texts:
    """Take apart prepared examples (schema UNITS), one a unit."""
    found = Texts()
    for block in blocks:
        for unit in block.to_pylist():
            found.labels.append(names[unit["targets"][0]])
            ids = unit["input_ids"]
            if paired:
                first, ids = halves(ids, unit["type_ids"], tokenizer.sep_token_id)
                texts = (tokenizer.decode(each, skip_special_tokens=True) for each in (first, ids))
                found.pairs.append((next(texts), next(texts)))
            found.words.append(tokenizer.convert_ids_to_tokens(ids, skip_special_tokens=True))
    return found


def halves(ids: list[int], types: list[int], separator: int | None) -> tuple[list[int], list[int]]:
    """Return the tokens of each text of a pair: told apart by their segments or, of models without, by the first separator."""
    if 1 in types:
        kinds = list(zip(ids, types, strict=True))
        return [token for token, kind in kinds if kind == 0], [token for token, kind in kinds if kind == 1]
    end = ids.index(separator) if separator in ids else len(ids)
    return ids[:end], ids[end:]


def measure_baselines(train: Texts, test: Texts, names: Sequence[str], of: int) -> dict[str, dict[str, Any]]:
    """Return what the report shows: name -> {metrics, examples}. One that cannot be fitted on these examples is left out.

    Args:
        of: examples of the whole split that `test` was drawn from: if they are more, the names say so.
    """
    ways: dict[str, Callable[[], Classified]] = {
        "majority": lambda: majority_baseline(train.labels, test.labels, names),
        "second text only" if train.pairs else "words only": lambda: words_baseline(
            train.words, train.labels, test.words, test.labels, names
        ),
    }
    if train.pairs:
        ways["word overlap"] = lambda: overlap_baseline(
            train.pairs, train.labels, test.pairs, test.labels, names
        )
    count = len(test.labels)
    drawn = f" ({count:,} of {of:,})" if count < of else ""
    found: dict[str, dict[str, Any]] = {}
    for name, way in ways.items():
        try:
            found[name + drawn] = {"metrics": way().metrics, "examples": count}
        except MetricInputError:
            continue
        except Exception:  # the model is there, whatever it was to be compared with
            logger.warning("the baseline %r could not be measured", name, exc_info=True)
    return found
