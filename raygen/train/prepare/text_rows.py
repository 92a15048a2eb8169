"""Text rows: what is done to a row's texts before they become tokens: normalised, and copied with changes."""

from __future__ import annotations

import hashlib
import random
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from raygen.train.families.base import SPLITS
from raygen.train.recipe import Augmentation

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_SPACES = re.compile(r"(\s+)")


def normalise(value: Any) -> Any:
    r"""Return a value with every text in it, however deep, in NFC, with \n line ends and without control characters."""
    if isinstance(value, str):
        text = _CONTROLS.sub("", _LINE_ENDS.sub("\n", value))
        return text if text.isascii() else unicodedata.normalize("NFC", text)
    if isinstance(value, list):
        return [normalise(each) for each in value]
    if isinstance(value, dict):
        return {name: normalise(each) for name, each in value.items()}
    return value


def split_of(row_id: str, validation: float, test: float) -> str:
    """Return the split of a row: a hash of its id decides, so that it is the same in every run and for every seed."""
    train_name, validation_name, test_name = SPLITS
    place = int.from_bytes(_hash(f"split\x00{row_id}"), "big") / 2**64
    if place < test:
        return test_name
    return validation_name if place < test + validation else train_name


def changed_copy(
    row: Mapping[str, Any], row_id: str, copy: int, seed: int, how: Augmentation
) -> dict[str, Any]:
    """Return a row with some of its texts changed; alike for the same id, number of the copy and seed."""
    chance = random.Random(_hash(f"copy\x00{seed}\x00{copy}\x00{row_id}"))
    return {
        name: _changed(value, chance, how) if name in how.columns and isinstance(value, str) else value
        for name, value in row.items()
    }


def _changed(text: str, chance: random.Random, how: Augmentation) -> str:
    parts = _SPACES.split(text)  # words at even places, what is between them at odd ones
    words, between = parts[::2], parts[1::2]
    for i in range(len(words) - 1):
        if chance.random() < how.swap_words:
            words[i], words[i + 1] = words[i + 1], words[i]
    words = [_mistyped(word, chance) if chance.random() < how.typos else word for word in words]
    kept = [i for i, word in enumerate(words) if not word or chance.random() >= how.delete_words]
    if not any(words[i] for i in kept):
        kept = list(range(len(words)))  # never nothing at all
    text = "".join(words[i] + (between[i] if i < len(between) and i != kept[-1] else "") for i in kept)
    return text.lower() if how.lower_case else text


def _mistyped(word: str, chance: random.Random) -> str:
    """Exchange two neighbouring letters."""
    if len(word) < 2:
        return word
    i = chance.randrange(len(word) - 1)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
