"""WordNet nouns: which words WordNet-NLI asks about: the kinds and the words below them, each in one split."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from raygen.datasets.wordnet.carriers import CARRIERS
from raygen.datasets.wordnet.database import Synset, WordNet
from raygen.datasets.wordnet.kinds import KINDS, UNSUITED, WITH_ARTICLE, Kind
from raygen.errors import SourceError

# Rarer words are left out, unless they were met in tagged text: who is tested should know them. Training has them all: of
# few words a model learns by heart what they are.
FEWEST_GLOSSES = 4
TRAIN = "train"

_VOWEL = re.compile(r"[aio]|e(?!u)|u(?!ni)")  # an ulna, a unicycle, a eucalyptus
_WORD = re.compile(r"[a-z]{3,14}")
_IN_CARRIERS = frozenset(
    re.findall(r"[a-z]+", " ".join(each.claim + each.denial for each in CARRIERS).lower())
)


@dataclass(frozen=True, slots=True)
class Noun:
    word: str
    synset: Synset
    field: str
    split: str
    article: bool
    kinds: frozenset[Kind]  # those above it, and itself
    is_kind: bool

    @property
    def text(self) -> str:
        return self.word.replace("_", " ")

    @property
    def phrase(self) -> str:
        """Return the noun with its article."""
        return f"{'an' if _VOWEL.match(self.word) else 'a'} {self.text}" if self.article else self.text


def find_nouns(wordnet: WordNet) -> list[Noun]:
    """Return the kinds and the words below them (common ones, but in training), each in its split, in alphabetical order.

    Raises:
        SourceError: this WordNet lacks one of KINDS.
    """
    synsets: dict[Kind, Synset] = {}
    for kind in KINDS:
        senses = wordnet.senses(kind.word, "n")
        if len(senses) < kind.sense:
            raise SourceError(
                f"{wordnet.directory} has no sense {kind.sense} of the noun {kind.word!r}; WordNet 3.0 is needed"
            )
        synsets[kind] = senses[kind.sense - 1]
    taken = {kind.word for kind in KINDS} | UNSUITED | _IN_CARRIERS
    below: dict[str, tuple[Synset, list[Kind]]] = {}
    for word in wordnet.words("n"):
        synset = None if word in taken else _plain_sense(wordnet, word)
        if synset is not None:
            above = wordnet.hypernyms(synset)
            kinds = [kind for kind in KINDS if synsets[kind].key in above]
            if kinds:
                below[word] = synset, kinds
    rare = {word for word, (synset, _) in below.items() if _is_rare(wordnet, word, synset)}
    sizes = Counter(kind for word, (_, kinds) in below.items() if word not in rare for kind in kinds)
    nouns = []
    for kind, synset in synsets.items():
        above = wordnet.hypernyms(synset)
        kinds = [other for other in KINDS if other == kind or synsets[other].key in above]
        nouns.append(_noun(kind.word, synset, kind, kinds, article=kind.article, is_kind=True))
    for word, (synset, kinds) in below.items():
        # The closest kind decides; the others count only where they are of the same split.
        closest = min(kinds, key=lambda kind: (sizes[kind], kind.word))
        if word in rare and closest.split != TRAIN:
            continue
        article = closest.below_article or word in WITH_ARTICLE
        nouns.append(_noun(word, synset, closest, kinds, article=article, is_kind=False))
    return sorted(nouns, key=lambda noun: noun.word)


def _noun(
    word: str, synset: Synset, closest: Kind, kinds: list[Kind], *, article: bool, is_kind: bool
) -> Noun:
    inside = frozenset(kind for kind in kinds if kind.split == closest.split)
    return Noun(word, synset, closest.field, closest.split, article, inside, is_kind)


def _plain_sense(wordnet: WordNet, word: str) -> Synset | None:
    """Return a common noun's first sense, if a reader without context takes it so."""
    synset = wordnet.sense(word, "n")
    if synset is None or not _WORD.fullmatch(word) or word not in synset.words:  # a name is written otherwise
        return None
    senses = [(part, each) for part in "nva" for each in wordnet.senses(word, part)]
    tagged = {each.key: wordnet.count(word, each) for _, each in senses}
    total = sum(tagged.values())
    plain = 2 * tagged[synset.key] >= total if total else len(senses) <= 3
    return synset if plain else None


def _is_rare(wordnet: WordNet, word: str, synset: Synset) -> bool:
    return not wordnet.count(word, synset) and wordnet.gloss_counts[word] < FEWEST_GLOSSES
