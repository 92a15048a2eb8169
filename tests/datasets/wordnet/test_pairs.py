from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raygen.datasets.wordnet.archive import resolve_wordnet
from raygen.datasets.wordnet.carriers import CARRIERS, label_of
from raygen.datasets.wordnet.database import WordNet
from raygen.datasets.wordnet.kinds import KINDS
from raygen.datasets.wordnet.nouns import find_nouns
from raygen.datasets.wordnet.pairs import COLUMNS, LABELS, write_nli
from raygen.errors import SourceError
from tests.conftest import Result
from tests.datasets.wordnet.small_wordnet import Meaning, write_wordnet

PAIRS = {"train": 600, "validation": 150, "test": 240}
ABOVE = {
    "mammal": "animal",
    "dog": "mammal",
    "snake": "reptile",
    "duck": "bird",
    "seabird": "bird",
    "gun": "weapon",
}


def nouns() -> dict[str, Meaning]:
    """Every kind with six words below it, and some words that are no good."""
    found = {}
    for kind in KINDS:
        for sense in range(1, kind.sense):
            found[f"{kind.word} {sense}"] = Meaning([kind.word], gloss="another meaning")
        above = [ABOVE[kind.word]] if kind.word in ABOVE else []
        found[kind.word] = Meaning([kind.word], above, gloss=f"the kind {kind.word}")
        for letter in "abcdef":
            word = f"{kind.word.replace('_', '')[:11]}{letter}o"
            found[word] = Meaning([word], [kind.word], gloss=f"a kind of {kind.word}")
    found["uncommon"] = Meaning(["quokka"], ["animal"], gloss="rarely met", tagged=0)
    found["uncommon bird"] = Meaning(["hoatzin"], ["bird"], gloss="rarely met", tagged=0)
    found["name"] = Meaning(["Lassie"], ["dog"])
    found["uncommon but tagged"] = Meaning(["wombat"], ["mammal"], gloss="rarely met, tagged once")
    found["two words"] = Meaning(["guide_dog"], ["dog"])
    found["crane"] = Meaning(["crane"], ["bird"], tagged=1)
    found["lifting crane"] = Meaning(["crane"], ["machine"], tagged=5)
    found["ulna"] = Meaning(["ulna"], ["bone"])
    found["unicorn"] = Meaning(["unicorn"], ["mammal"])
    found["pup"] = Meaning(["whelpling"], ["dog"], gloss="a young dog")
    return found


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    return WordNet(write_wordnet(tmp_path_factory.mktemp("dict"), {"noun": nouns()}))


def read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {split: pq.read_table(folder / f"{split}.parquet").to_pylist() for split in PAIRS}


def check(splits: dict[str, list[dict[str, Any]]], wordnet: WordNet) -> None:
    """Every promise about the pairs that can be checked from outside."""
    carriers = {each.name: each for each in CARRIERS}
    known = {noun.text: noun for noun in find_nouns(wordnet)}
    words: dict[str, set[str]] = {}
    for split, rows in splits.items():
        assert len({row["id"] for row in rows}) == len({(row["premise"], row["hypothesis"]) for row in rows})
        assert len(rows) == len({row["id"] for row in rows})
        assert len(set(Counter(row["label"] for row in rows).values())) == 1
        assert {row["label"] for row in rows} == set(LABELS)
        words[split] = {part for row in rows for name in ("word", "other") for part in row[name].split()}
        for row in rows:
            assert list(row) == list(COLUMNS)
            carrier = carriers[row["template"]]
            relation = {"co-hyponym": "disjoint", "unrelated": "disjoint"}.get(
                row["relation"], row["relation"]
            )
            assert row["label"] == label_of(carrier.way, row["polarity"], relation)
            one, two = known[row["word"]], known[row["other"]]
            assert relation == (
                "hypernym"
                if two.synset.key in wordnet.hypernyms(one.synset)
                else "hyponym"
                if one.synset.key in wordnet.hypernyms(two.synset)
                else "disjoint"
            )
            for text in (row["premise"], row["hypothesis"]):
                assert not re.search(r"\b(a (?!uni|eu)[aeiou]|an ([^aeiou]|uni|eu))|[{}_]", text), text
    assert not words["train"] & words["test"]
    assert not words["train"] & words["validation"]
    assert not words["validation"] & words["test"]
    sentences = " ".join(carrier.claim + carrier.denial for carrier in CARRIERS).lower()
    assert not set(re.findall(r"[a-z]+", sentences)) & set.union(*words.values())


def test_pairs(small: WordNet, tmp_path: Path) -> None:
    counts = write_nli(small, tmp_path / "a", PAIRS)
    splits = read(tmp_path / "a")
    check(splits, small)
    assert {split: labels.total() for split, labels in counts.items()} == {
        split: len(rows) for split, rows in splits.items()
    }
    for split, rows in splits.items():
        assert len(rows) >= 0.9 * PAIRS[split]
        for place in (0, 1):  # neither a claim nor a denial gives the label away
            for sign in "+-":
                labels = Counter(row["label"] for row in rows if row["polarity"][place] == sign)
                assert max(labels.values()) < 0.42 * labels.total(), (split, place, sign, labels)


def test_the_seed_decides(small: WordNet, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_nli(small, tmp_path / name, PAIRS, seed)
    assert read(tmp_path / "a") == read(tmp_path / "b") != read(tmp_path / "c")


def test_words_that_are_left_out(small: WordNet) -> None:
    found = {noun.word for noun in find_nouns(small)}
    assert {"dog", "musical_instrument", "dogao", "wombat", "whelpling", "ulna", "unicorn"} <= found
    assert "quokka" in found  # rare words are for training
    assert not found & {"hoatzin", "lassie", "guide_dog", "crane"}


def test_what_is_young_rules_nothing_out(small: WordNet, tmp_path: Path) -> None:
    write_nli(small, tmp_path, {"train": 3000})
    rows = pq.read_table(tmp_path / "train.parquet").to_pylist()
    beside = {row["relation"] for row in rows if "whelpling" in (row["word"], row["other"])}
    assert "hypernym" in beside
    assert "co-hyponym" not in beside


def test_a_wordnet_without_the_kinds(tmp_path: Path, cli: Callable[..., Result]) -> None:
    folder = write_wordnet(tmp_path / "dict", {"noun": {"animal": Meaning(["animal"])}})
    with pytest.raises(SourceError, match="has no sense 1 of the noun 'mammal'"):
        find_nouns(WordNet(folder))
    result = cli("data", "wordnet-nli", "--to", tmp_path / "nli", "--wordnet", tmp_path / "nowhere")
    assert result.code == 2
    assert "data.noun cannot be read: No such file" in result.err
    assert len(result.err.splitlines()) == 1


def test_the_command(small: WordNet, tmp_path: Path, cli: Callable[..., Result]) -> None:
    result = cli("data", "wordnet-nli", "--to", tmp_path / "nli", "--wordnet", small.directory)
    assert result.code == 0
    assert re.search(
        r"pairs \([\d,]+ contradiction, [\d,]+ entailment, [\d,]+ neutral\): .*test\.parquet", result.out
    )


@pytest.mark.model
def test_pairs_of_the_real_wordnet(tmp_path: Path) -> None:
    wordnet = WordNet(resolve_wordnet())
    counts = write_nli(wordnet, tmp_path)
    assert [labels.total() for labels in counts.values()] == [19_998, 1_500, 1_998]
    splits = read(tmp_path)
    check(splits, wordnet)
    assert len({row["word"] for row in splits["train"]}) > 4_000  # few words would be learnt by heart
    rows = [row for rows in splits.values() for row in rows]
    assert {("spaniel", "dog", "hypernym"), ("bird", "owl", "hyponym")} <= {
        (row["word"], row["other"], row["relation"]) for row in rows
    }
    assert not {"dolphin", "puppy"} & {row["word"] for row in rows if row["relation"] == "co-hyponym"}
