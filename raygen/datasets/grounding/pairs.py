"""Grounding pairs: does a statement follow from a passage? Built from real prose, with labels that are right by construction.

A premise is one to three sentences of a passage. A statement made from one of them by saying less or the same is entailed;
with a negation, a number or a word turned to its opposite it is contradicted; taken from elsewhere, or with another
subject or ending put in, it is neutral. A reasoner for checking generated answers learns from them what copying, mending
and inventing look like. Passages of one group (such as a topic) stand in one split only.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raygen.data.text.sentences import sentences_of
from raygen.datasets.grounding.edits import entailed, negated, number_changed, turned
from raygen.errors import SourceError

PAIRS = {"train": 9_000, "validation": 900, "test": 1_200}
SHARES = {"validation": 0.1, "test": 0.15}  # of the groups; the others are for training
COLUMNS = ("id", "premise", "hypothesis", "label", "kind", "group")
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])
SHORTEST, LONGEST = 5, 45  # words of a sentence that is used
_TERM = re.compile(
    r"\"[^\"\s]{2,40}\"|\*[^*\s]{2,40}\*|\b[a-z]+(?:ion|ment|tor|ter|able|ect|ule|ass|ing|ence|ror|ue)s?\b"
)
_CUT = re.compile(
    r", (?:and|but|or|so|which|because|if|when|where|while) | (?:because|if|when|unless|until) "
)


@dataclass(frozen=True, slots=True)
class Sentence:
    text: str
    group: str
    passage: int
    place: int


class _Prose:
    """The sentences of one split."""

    def __init__(self, passages: Sequence[tuple[str, str]]) -> None:
        self.passages: list[list[Sentence]] = []
        for number, (group, text) in enumerate(passages):
            found = [each for each in sentences_of(text) if SHORTEST <= len(each.split()) <= LONGEST]
            self.passages.append([Sentence(each, group, number, place) for place, each in enumerate(found)])
        self.sentences = [each for passage in self.passages for each in passage]
        self.by_group: dict[str, list[Sentence]] = defaultdict(list)
        for each in self.sentences:
            self.by_group[each.group].append(each)

    def premise(self, sentence: Sentence, draws: random.Random) -> list[Sentence]:
        """One to three neighbours, the sentence among them."""
        passage = self.passages[sentence.passage]
        length = draws.choice((1, 2, 2, 3))
        first = max(0, min(sentence.place - draws.randrange(length), len(passage) - length))
        return passage[first : first + length]


def write_grounding(
    source: str | Path, to: str | Path, *, text: str = "text", group: str = "topic", seed: int = 0
) -> dict[str, int]:
    """Write train.parquet, validation.parquet and test.parquet below `to`; return how many pairs each has.

    Columns, all text: id, premise, hypothesis, label (entailment, neutral, contradiction), kind (how the hypothesis was made),
    group (of the premise). Labels are equally frequent.

    Args:
        source: a Parquet file with a passage a row; text, group: its columns.

    Raises:
        SourceError: the file, or a column of it, is not there; too few groups for three splits.
    """
    try:
        table = pq.read_table(source, columns=[text, group])
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise SourceError(f"{source}: cannot read columns {text!r} and {group!r}: {error}") from None
    rows = [(str(row[group]), str(row[text])) for row in table.to_pylist() if row[text]]
    Path(to).mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, wanted in PAIRS.items():
        prose = _Prose([row for row in rows if _split_of(row[0]) == split])
        if len(prose.by_group) < 2:
            raise SourceError(
                f"{source}: {len(prose.by_group)} groups fall into the {split} split; at least 2 are needed"
            )
        pairs = _pairs(prose, wanted, random.Random(f"{seed} {split}"), split)
        pq.write_table(pa.Table.from_pylist(pairs, SCHEMA), Path(to) / f"{split}.parquet")
        counts[split] = len(pairs)
    return counts


def _split_of(group: str) -> str:
    place = int.from_bytes(hashlib.blake2b(group.encode(), digest_size=4).digest(), "big") / 2**32
    for split, share in SHARES.items():
        if place < share:
            return split
        place -= share
    return "train"


def _pairs(prose: _Prose, wanted: int, draws: random.Random, split: str) -> list[dict[str, Any]]:
    """Make pairs of each kind in turn, until there are as many as wanted or nothing new comes."""
    kinds = [(label, kind) for label, made in KINDS.items() for kind in made]
    quota = {(label, kind): wanted // 3 // len(KINDS[label]) for label, kind in kinds}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for label, kind in kinds:
        for _ in range(30 * quota[label, kind]):
            if counts[label, kind] >= quota[label, kind]:
                break
            sentence = draws.choice(prose.sentences)
            premise = prose.premise(sentence, draws)
            hypothesis = KINDS[label][kind](sentence, premise, prose, draws)
            text = " ".join(each.text for each in premise)
            if (
                hypothesis is None
                or (text, hypothesis) in found
                or (label != "entailment" and hypothesis in text)
            ):
                continue
            counts[label, kind] += 1
            found[text, hypothesis] = {
                "premise": text, "hypothesis": hypothesis, "label": label, "kind": kind, "group": sentence.group
            }  # fmt: skip
    fewest = min(sum(counts[label, kind] for kind in KINDS[label]) for label in KINDS)
    by_label: dict[str, list[dict[str, Any]]] = {label: [] for label in KINDS}
    for row in found.values():
        by_label[row["label"]].append(row)
    rows = [row for each in by_label.values() for row in draws.sample(each, fewest)]
    draws.shuffle(rows)
    return [{"id": f"{split}-{number:05d}", **row} for number, row in enumerate(rows)]


Make = Callable[[Sentence, Sequence[Sentence], _Prose, random.Random], str | None]


def _same(sentence: Sentence, premise: Sequence[Sentence], prose: _Prose, draws: random.Random) -> str | None:
    return sentence.text


def _less(sentence: Sentence, premise: Sequence[Sentence], prose: _Prose, draws: random.Random) -> str | None:
    return entailed(sentence.text, draws)


def _opposed(change: Callable[[str, random.Random], str | None]) -> Make:
    """Make a change of the sentence's meaning, now and then on top of a harmless one: what was edited gives no label away."""

    def make(
        sentence: Sentence, premise: Sequence[Sentence], prose: _Prose, draws: random.Random
    ) -> str | None:
        text = sentence.text
        if draws.random() < 0.6:
            text = entailed(text, draws) or text
        return change(text, draws)

    return make


def _elsewhere(
    sentence: Sentence, premise: Sequence[Sentence], prose: _Prose, draws: random.Random
) -> str | None:
    """Return a sentence of the same group that shares words with the premise: near in subject, and not said."""
    others = [each for each in prose.by_group[sentence.group] if each not in premise]
    if not others:
        return None
    words = set(sentence.text.lower().split())
    other = max(
        draws.sample(others, min(6, len(others))),
        key=lambda each: len(words & set(each.text.lower().split())),
    )
    return (entailed(other.text, draws) if draws.random() < 0.6 else None) or other.text


def _other_group(
    sentence: Sentence, premise: Sequence[Sentence], prose: _Prose, draws: random.Random
) -> str | None:
    other = draws.choice(prose.sentences)
    return None if other.group == sentence.group else entailed(other.text, draws) or other.text


def _other_term(
    sentence: Sentence, premise: Sequence[Sentence], prose: _Prose, draws: random.Random
) -> str | None:
    """Return the sentence about something else: a term of it exchanged for one that the premise does not name."""
    text = (entailed(sentence.text, draws) if draws.random() < 0.6 else None) or sentence.text
    terms = list(_TERM.finditer(text))
    other = draws.choice(prose.by_group[sentence.group])
    said = " ".join(each.text for each in premise).lower()
    news = [term[0] for term in _TERM.finditer(other.text) if term[0].lower().strip('"*') not in said]
    if not terms or not news:
        return None
    term = draws.choice(terms)
    new = (
        draws.choice([each for each in news if each[0] in '"*'] or news)
        if term[0][0] in '"*'
        else draws.choice(news)
    )
    return text[: term.start()] + new + text[term.end() :]


def _other_ending(
    sentence: Sentence, premise: Sequence[Sentence], prose: _Prose, draws: random.Random
) -> str | None:
    """Return the sentence's beginning with another's ending."""
    others = [each for each in prose.by_group[sentence.group] if each not in premise]
    cut = _CUT.search(sentence.text, len(sentence.text) // 4)
    if not others or cut is None:
        return None
    other = draws.choice(others).text
    end = _CUT.search(other, len(other) // 4)
    return None if end is None else sentence.text[: cut.start()] + other[end.start() :]


KINDS: dict[str, dict[str, Make]] = {
    "entailment": {"same": _same, "less": _less, "less again": _less},
    "neutral": {
        "elsewhere": _elsewhere, "other group": _other_group, "other term": _other_term, "other ending": _other_ending,
    },
    "contradiction": {
        "negated": _opposed(negated), "turned": _opposed(turned), "number": _opposed(number_changed),
    },
}  # fmt: skip
