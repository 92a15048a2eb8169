"""WordNet: words, their meanings and what connects them, read from the database files of WordNet 3.0.

The files are those that Princeton gives away: `index.noun`, `data.noun` and so on for verbs and adjectives, and `index.sense`,
which says how often a sense was met in tagged text. Some copies split `data.noun` in two (`data.noun1`, `data.noun2`).
Format: wndb(5WN) and senseidx(5WN), https://wordnet.princeton.edu/documentation
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from raygen.errors import SourceError

T = TypeVar("T")

PARTS = {"noun": "n", "verb": "v", "adj": "a"}  # of speech: the ending of a file's name, and our letter

HYPERNYM, HYPONYM, ANTONYM = "@", "~", "!"

_SENSE_PARTS = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}  # 5: an adjective that stands near another
_WORD = re.compile(r"[a-z]+")
_MARKER = re.compile(r"\((?:a|p|ip)\)$")  # where an adjective may stand


@dataclass(frozen=True, slots=True)
class Pointer:
    symbol: str
    target: str  # key of a synset
    source_word: int  # number of the word in its synset, from 1; 0: the whole synset
    target_word: int


@dataclass(frozen=True, slots=True)
class Synset:
    key: str  # `n02084071`: the part of speech and the place in its file
    lexname: int  # number of the lexicographer's file: 5 animals, 6 artefacts, 13 food, 20 plants, ...
    words: tuple[str, ...]  # as written, the commonest first; `_` stands for a space
    pointers: tuple[Pointer, ...]
    gloss: str  # the definition, then examples in quotation marks

    @property
    def definition(self) -> str:
        return self.gloss.partition('; "')[0]


class WordNet:
    """The whole of a directory of database files, in memory (nouns, verbs and adjectives: about 2 s).

    Args:
        directory: holds index.*, data.* and index.sense.

    Raises:
        SourceError: a file is missing, or not what it is called; says which, and which line.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self.synsets: dict[str, Synset] = {}
        self._senses: dict[tuple[str, str], tuple[str, ...]] = {}
        for name, part in PARTS.items():
            for line, where in self._lines(*self._data_files(name)):
                synset = _parsed(_synset, line, where, part)
                self.synsets[synset.key] = synset
            for line, where in self._lines(self.directory / f"index.{name}"):
                word, keys = _parsed(_index_entry, line, where, part)
                missing = [key for key in keys if key not in self.synsets]
                if missing:
                    raise SourceError(
                        f"{where}: {word!r} points at {missing[0]}, which data.{name} has not; the files belong together?"
                    )
                self._senses[part, word] = keys
        self._counts: dict[tuple[str, str], int] = {}
        for line, where in self._lines(self.directory / "index.sense"):
            word, key, count = _parsed(_sense_count, line, where, "")
            if count:
                self._counts[word, key] = count

    def senses(self, word: str, part: str) -> tuple[Synset, ...]:
        """Return a word's meanings, the commonest first; none if it is not known as this part of speech."""
        return tuple(self.synsets[key] for key in self._senses.get((part, word), ()))

    def sense(self, word: str, part: str) -> Synset | None:
        """Return the commonest meaning of a word."""
        keys = self._senses.get((part, word))
        return self.synsets[keys[0]] if keys else None

    def count(self, word: str, synset: Synset) -> int:
        """Return how often a word was met in this meaning, in text tagged by hand."""
        return self._counts.get((word, synset.key), 0)

    def words(self, part: str) -> Iterator[str]:
        """Yield every word of a part of speech, lower case, in the order of the files."""
        return (word for each, word in self._senses if each == part)

    def hypernyms(self, synset: Synset) -> frozenset[str]:
        """Return the keys of everything above a meaning, itself left out."""
        found = self._above.get(synset.key)
        if found is None:
            found = self._above[synset.key] = frozenset(self._reached(synset, HYPERNYM))
        return found

    def hyponyms(self, synset: Synset) -> frozenset[str]:
        """Return the keys of everything below a meaning, itself left out. Instances (Fido) are no hyponyms."""
        found = self._below.get(synset.key)
        if found is None:
            found = self._below[synset.key] = frozenset(self._reached(synset, HYPONYM))
        return found

    def coordinates(self, synset: Synset) -> list[Synset]:
        """Return the other meanings right below the same one, in the order of the files."""
        parents = self._targets(synset, HYPERNYM)
        keys = {key for parent in parents for key in self._targets(self.synsets[parent], HYPONYM)}
        return [self.synsets[key] for key in sorted(keys - {synset.key})]

    def antonyms(self, word: str, synset: Synset) -> list[tuple[str, Synset]]:
        """Return the opposites of a word in one of its meanings, each with the meaning in which it is one."""
        found = []
        for pointer in synset.pointers:
            if pointer.symbol == ANTONYM and _plain(synset.words[pointer.source_word - 1]) == word:
                other = self.synsets[pointer.target]
                found.append((_plain(other.words[pointer.target_word - 1]), other))
        return found

    @cached_property
    def gloss_counts(self) -> Counter[str]:
        """How many definitions and examples each word stands in: how common it is, in a million words of prose."""
        counts: Counter[str] = Counter()
        for synset in self.synsets.values():
            counts.update(set(_WORD.findall(synset.gloss.lower())))
        return counts

    @cached_property
    def _above(self) -> dict[str, frozenset[str]]:
        return {}

    @cached_property
    def _below(self) -> dict[str, frozenset[str]]:
        return {}

    def _targets(self, synset: Synset, symbol: str) -> list[str]:
        return [pointer.target for pointer in synset.pointers if pointer.symbol == symbol]

    def _reached(self, synset: Synset, symbol: str) -> set[str]:
        found: set[str] = set()
        queue = deque(self._targets(synset, symbol))
        while queue:
            key = queue.popleft()
            if key not in found and key in self.synsets:
                found.add(key)
                queue.extend(self._targets(self.synsets[key], symbol))
        return found - {synset.key}

    def _data_files(self, name: str) -> list[Path]:
        whole = self.directory / f"data.{name}"
        halves = [self.directory / f"data.{name}{number}" for number in (1, 2)]
        return halves if not whole.exists() and halves[0].exists() else [whole]

    def _lines(self, *paths: Path) -> Iterator[tuple[str, str]]:
        """Yield each line with its place; the licence at a file's head, indented, is left out."""
        for path in paths:
            try:
                with path.open(encoding="utf-8") as file:
                    for number, line in enumerate(file, 1):
                        if not line.startswith("  ") and line.strip():
                            yield line.rstrip("\n"), f"{path}, line {number}"
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise SourceError(
                    f"{path} cannot be read: {reason}; {self.directory} should hold the database files of WordNet 3.0"
                ) from None


def _parsed(parse: Callable[[str, str], T], line: str, where: str, part: str) -> T:
    try:
        return parse(line, part)
    except (ValueError, IndexError, KeyError):
        raise SourceError(f"{where} is no line of a WordNet 3.0 database file: {line[:60]!r}") from None


def _synset(line: str, part: str) -> Synset:
    head, bar, gloss = line.partition(" | ")
    fields = head.split()
    if not bar or not fields[0].isdigit():
        raise ValueError
    size = int(fields[3], 16)  # the number of words is the only hexadecimal one beside the lexical ids
    words = tuple(_MARKER.sub("", word) for word in fields[4 : 4 + 2 * size : 2])
    at = 4 + 2 * size
    pointers = []
    for number in range(int(fields[at])):
        symbol, offset, target_part, ends = fields[at + 1 + 4 * number : at + 5 + 4 * number]
        if target_part in PARTS.values():  # adverbs are not read
            pointers.append(Pointer(symbol, target_part + offset, int(ends[:2], 16), int(ends[2:], 16)))
    return Synset(part + fields[0], int(fields[1]), words, tuple(pointers), gloss.strip())


def _index_entry(line: str, part: str) -> tuple[str, tuple[str, ...]]:
    fields = line.split()
    count = int(fields[2])
    keys = tuple(part + offset for offset in fields[-count:])
    if count < 1 or len(fields) < 6 + count or not all(offset.isdigit() for offset in fields[-count:]):
        raise ValueError
    return fields[0], keys


def _sense_count(line: str, _: str) -> tuple[str, str, int]:
    sense, offset, _number, count = line.split()
    word, _percent, rest = sense.partition("%")
    return word, _SENSE_PARTS[rest[:1]] + offset, int(count)


def _plain(word: str) -> str:
    return word.lower()
