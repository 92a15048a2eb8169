"""WordNet-NLI: pairs of sentences whose label (entailment, neutral, contradiction) is right by construction.

Both sentences of a pair are the same but for a noun, and perhaps a denial. What follows is decided by which noun WordNet
places above the other and by the sentence (raygen.datasets.wordnet.carriers), as in MoNLI (Geiger et al. 2020,
arXiv:2004.14623), here with contradictions too. A word stands in one split only.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raygen.datasets.wordnet.carriers import (
    EXISTENCE,
    GENERAL,
    IDENTITY,
    UNIVERSAL,
    Carrier,
    carriers_for,
    label_of,
)
from raygen.datasets.wordnet.database import WordNet
from raygen.datasets.wordnet.kinds import OVERLAPPING
from raygen.datasets.wordnet.nouns import Noun, find_nouns

PAIRS = {"train": 20_000, "validation": 1_500, "test": 2_000}
LABELS = ("entailment", "neutral", "contradiction")
COLUMNS = ("id", "premise", "hypothesis", "label", "word", "other", "relation", "polarity", "template")
SCHEMA = pa.schema([(name, pa.string()) for name in COLUMNS])

# How often each way of denying (premise, hypothesis: + claims, - denies) meets each relation of the words. So weighted, all
# labels are equally frequent, and remain so among the claiming and the denying premises, and hypotheses.
_SIDEWAYS = {  # of sentences in which a word does not rule out others
    ("++", "hypernym"): (2.0, 1.4),
    ("++", "hyponym"): (1.4, 2.0),
    ("--", "hypernym"): (1.4, 2.0),
    ("--", "hyponym"): (2.0, 1.4),
    ("+-", "hypernym"): (2.0, 1.4),
    ("+-", "hyponym"): (1.4, 2.0),
    ("-+", "hypernym"): (1.4, 2.0),
    ("-+", "hyponym"): (2.0, 1.4),
    **{(polarity, "disjoint"): (0.6, 0.6) for polarity in ("++", "--", "+-", "-+")},
}
WEIGHTS: dict[tuple[str, str, str], float] = {
    (IDENTITY, "++", "hypernym"): 3.0,
    (IDENTITY, "++", "hyponym"): 1.43,
    (IDENTITY, "++", "disjoint"): 2.0,
    (IDENTITY, "--", "hyponym"): 1.0,
    (IDENTITY, "--", "hypernym"): 0.2,
    (IDENTITY, "--", "disjoint"): 0.09,
    (IDENTITY, "+-", "hypernym"): 2.0,
    (IDENTITY, "+-", "hyponym"): 0.86,
    (IDENTITY, "+-", "disjoint"): 1.0,
    (IDENTITY, "-+", "hyponym"): 1.0,
    (IDENTITY, "-+", "hypernym"): 0.2,
    (IDENTITY, "-+", "disjoint"): 0.08,
    **{(EXISTENCE, *key): weights[0] * 0.33 for key, weights in _SIDEWAYS.items()},
    **{(UNIVERSAL, *key): weights[1] * 0.2 for key, weights in _SIDEWAYS.items()},
}

# Of animals: what is said of an age, a sex or a use is no kind beside other kinds.
_NO_KIND = re.compile(r"\b(young|male|female|informal|domesticated|used|trained|adult|old|wild)\b")
_ENOUGH_TRIES = 60  # for one new pair, before its cell counts as exhausted


Pair = tuple[Noun, Noun]


def write_nli(
    wordnet: WordNet, folder: Path, pairs: Mapping[str, int] = PAIRS, seed: int = 0
) -> dict[str, Counter[str]]:
    """Write train.parquet, validation.parquet and test.parquet; return how many pairs of each label they have.

    Columns, all text: those of COLUMNS. `word` is the premise's noun, `other` the hypothesis's, `relation` what `other` is to
    `word` (hypernym, hyponym, co-hyponym, unrelated), `polarity` which of the two sentences claim (+) and deny (-).

    Args:
        pairs: how many to make of each split, at most; there are fewer if the words do not suffice.
        seed: the same one gives the same files.

    Raises:
        SourceError: this WordNet lacks the kinds that pairs are made of.
    """
    nouns = find_nouns(wordnet)
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, wanted in pairs.items():
        rows = _Maker(wordnet, [noun for noun in nouns if noun.split == split], f"{seed} {split}").rows(
            wanted
        )
        for number, row in enumerate(rows, 1):
            row["id"] = f"{split}-{number:05d}"
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / f"{split}.parquet")
        counts[split] = Counter(row["label"] for row in rows)
    return counts


class _Maker:
    """Makes the pairs of one split."""

    def __init__(self, wordnet: WordNet, nouns: list[Noun], seed: str) -> None:
        self.wordnet = wordnet
        self.nouns = nouns
        self.random = random.Random(seed)
        # Only kinds are above others here: WordNet's order among finer words (is a falcon a hawk?) is not every reader's.
        kinds = {noun.synset.key: noun for noun in nouns if noun.is_kind}
        self.below: dict[str, list[Noun]] = {noun.word: [] for noun in nouns}  # a kind: the words below it
        for noun in nouns:
            for key in sorted(wordnet.hypernyms(noun.synset) & kinds.keys()):
                self.below[kinds[key].word].append(noun)
        self.general = [noun for noun in nouns if self.below[noun.word]]
        self.generality = [len(self.below[noun.word]) ** 0.5 for noun in self.general]

    def rows(self, wanted: int) -> list[dict[str, str]]:
        """Return about `wanted` rows, in an order that says nothing, as many of each label."""
        if not self.general:
            return []
        draws: dict[str, Callable[[], Pair | None]] = {
            "hypernym": lambda: self._related()[::-1],
            "hyponym": self._related,
            "disjoint": self._disjoint,
        }
        total = sum(WEIGHTS.values())
        by_label: dict[str, list[dict[str, str]]] = {label: [] for label in LABELS}
        seen: set[tuple[str, str]] = set()
        for (way, polarity, relation), weight in WEIGHTS.items():
            label = label_of(way, polarity, relation)
            for _ in range(round(1.02 * wanted * weight / total)):  # some are cut off below
                row = self._new(draws[relation], way, polarity, relation, seen)
                if row is None:
                    break
                by_label[label].append(row | {"label": label})
        fewest = min(wanted // len(LABELS), *(len(rows) for rows in by_label.values()))
        chosen = []
        for rows in by_label.values():
            self.random.shuffle(rows)
            chosen += rows[:fewest]
        self.random.shuffle(chosen)
        return chosen

    def _new(
        self,
        draw: Callable[[], Pair | None],
        way: str,
        polarity: str,
        relation: str,
        seen: set[tuple[str, str]],
    ) -> dict[str, str] | None:
        for _ in range(_ENOUGH_TRIES):
            pair = draw()
            carrier = self._carrier(pair, way) if pair else None
            if pair is None or carrier is None:
                continue
            word, other = pair
            premise, hypothesis = (
                (carrier.claim if sign == "+" else carrier.denial).format(a=noun.phrase, n=noun.text)
                for sign, noun in zip(polarity, pair, strict=True)
            )
            if (premise, hypothesis) in seen:
                continue
            seen.add((premise, hypothesis))
            if relation == "disjoint":
                relation = "co-hyponym" if word.field == other.field else "unrelated"
            return {
                "premise": premise,
                "hypothesis": hypothesis,
                "word": word.text,
                "other": other.text,
                "relation": relation,
                "polarity": polarity,
                "template": carrier.name,
            }
        return None

    def _carrier(self, pair: Pair, way: str) -> Carrier | None:
        word, other = pair
        if way == UNIVERSAL and not (word.article and other.article):
            return None
        field = word.field if word.field == other.field else GENERAL
        return self.random.choice(carriers_for(field, way))

    def _related(self) -> Pair:
        """Draw a word and one that is a kind of it."""
        above = self._general()
        return above, self.random.choice(self.below[above.word])

    def _any(self) -> Noun:
        return self.random.choice(self.nouns)

    def _general(self) -> Noun:
        """Draw a word that others are kinds of; those with many kinds more often, but not as often as they have."""
        return self.random.choices(self.general, self.generality)[0]

    def _disjoint(self) -> Pair | None:
        """Draw two words nothing is both of: as often of one field as of two, as often beside a general one as not."""
        near = self.random.random() < 0.5
        draw_two = self._any if self.random.random() < 0.5 else self._general
        for _ in range(_ENOUGH_TRIES):
            one = self._any()
            two = draw_two()
            if (one.field == two.field) == near and self.apart(one, two):
                return (one, two) if self.random.random() < 0.5 else (two, one)
        return None

    def apart(self, one: Noun, two: Noun) -> bool:
        """Can nothing be both? Looks at every sense of both words, so that no reading makes it untrue."""
        if one.field != two.field and {one.field, two.field} in OVERLAPPING:
            return False
        if one.field == two.field:
            if not any(kind.exclusive for kind in one.kinds & two.kinds):
                return False
            if any(_NO_KIND.search(noun.synset.definition) for noun in (one, two) if not noun.is_kind):
                return False
        for mine in self.wordnet.senses(one.word, "n"):
            for its in self.wordnet.senses(two.word, "n"):
                if mine.key == its.key or mine.key in self.wordnet.hypernyms(its):
                    return False
                if its.key in self.wordnet.hypernyms(mine):
                    return False
        return not self.wordnet.hyponyms(one.synset) & self.wordnet.hyponyms(two.synset)
