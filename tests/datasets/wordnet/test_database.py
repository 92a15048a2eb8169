from __future__ import annotations

from pathlib import Path

import pytest

from raygen.datasets.wordnet.database import WordNet
from raygen.errors import SourceError
from tests.datasets.wordnet.small_wordnet import Meaning, write_wordnet

NOUNS = {
    "thing": Meaning(["thing"], gloss='what there is; "a thing of beauty"', tagged=0),
    "animal": Meaning(["animal", "beast"], ["thing"], tagged=7),
    "bird": Meaning(["bird"], ["animal"]),
    "crane": Meaning(["crane"], ["bird"], gloss="a large bird", tagged=2),
    "machine": Meaning(["machine"], ["thing"]),
    "lifting crane": Meaning(["crane"], ["machine"], gloss="lifts and moves heavy objects", tagged=5),
    "sparrow": Meaning(["sparrow"], ["bird"], gloss="a small bird"),
    "many": Meaning([f"word{number}" for number in range(17)]),
    "Bird": Meaning(["Bird", "Larry_Bird"], [], gloss="a player of games"),
}
ADJECTIVES = {
    "hot": Meaning(["hot(p)", "warm"], opposite="cold"),
    "cold": Meaning(["cold"], opposite="hot"),
}


@pytest.fixture(params=[False, True])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return write_wordnet(tmp_path / "dict", {"noun": NOUNS, "adj": ADJECTIVES}, halves=request.param)


def test_words_and_their_senses(folder: Path) -> None:
    wordnet = WordNet(folder)
    bird, lift = wordnet.senses("crane", "n")
    assert (bird.gloss, lift.gloss) == ("a large bird", "lifts and moves heavy objects")
    assert wordnet.sense("crane", "n") == bird
    assert [wordnet.count("crane", each) for each in (bird, lift)] == [2, 5]
    assert wordnet.senses("crane", "v") == ()
    assert wordnet.sense("nothing", "n") is None
    assert [each.words for each in wordnet.senses("bird", "n")] == [("bird",), ("Bird", "Larry_Bird")]
    assert wordnet.senses("thing", "n")[0].definition == "what there is"
    assert len(wordnet.senses("word16", "n")[0].words) == 17
    assert {"beast", "larry_bird", "sparrow"} <= set(wordnet.words("n"))


def test_what_connects_meanings(folder: Path) -> None:
    wordnet = WordNet(folder)

    def names(keys: frozenset[str]) -> set[str]:
        return {wordnet.synsets[key].words[0] for key in keys}

    sparrow, animal = wordnet.sense("sparrow", "n"), wordnet.sense("beast", "n")
    assert sparrow is not None
    assert animal is not None
    assert names(wordnet.hypernyms(sparrow)) == {"bird", "animal", "thing"}
    assert names(wordnet.hyponyms(animal)) == {"bird", "crane", "sparrow"}
    assert [each.words[0] for each in wordnet.coordinates(sparrow)] == ["crane"]
    hot = wordnet.sense("hot", "a")
    assert hot is not None
    assert [(word, each.words) for word, each in wordnet.antonyms("hot", hot)] == [("cold", ("cold",))]
    assert wordnet.antonyms("warm", hot) == []  # the other word of the meaning has none


def test_how_common_a_word_is(folder: Path) -> None:
    counts = WordNet(folder).gloss_counts
    assert (counts["bird"], counts["heavy"], counts["beauty"], counts["crane"]) == (2, 1, 1, 0)


def test_a_ring_of_hypernyms_ends(tmp_path: Path) -> None:
    ring = {"one": Meaning(["one"], ["two"]), "two": Meaning(["two"], ["one"])}
    wordnet = WordNet(write_wordnet(tmp_path, {"noun": ring}))
    one, two = wordnet.sense("one", "n"), wordnet.sense("two", "n")
    assert one is not None
    assert two is not None
    assert wordnet.hypernyms(one) == {two.key}


def test_a_missing_file(folder: Path) -> None:
    (folder / "data.verb").unlink()
    with pytest.raises(SourceError, match=r"data\.verb cannot be read: No such file.*WordNet 3\.0"):
        WordNet(folder)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("index.adj", "sour a 2 0 1 0 00000001\n"),
        ("data.adj", "00000001 05 a 09 sour 0 000 | not sweet\n"),
        ("data.adj", "00000001 05 a 01 sour 0 000 not sweet\n"),
        ("data.adj", "00000001 05 a 01 sour 0 002 ! 00000003 a 0101 | not sweet\n"),
        ("index.sense", "sour 00000001\n"),
        ("index.sense", "sour%9:00:00:: 00000001 1 0\n"),
    ],
)
def test_a_damaged_line(folder: Path, name: str, line: str) -> None:
    path = folder / name
    lines = len(path.read_text().splitlines())
    with path.open("a") as file:
        file.write(line)
    with pytest.raises(SourceError, match=rf"{name}, line {lines + 1} is no line of a WordNet 3\.0"):
        WordNet(folder)


def test_files_of_two_versions(folder: Path) -> None:
    with (folder / "index.adj").open("a") as file:
        file.write("sour a 1 0 1 0 00000001\n")
    with pytest.raises(SourceError, match=r"'sour' points at a00000001, which data\.adj has not"):
        WordNet(folder)
