"""A small WordNet in WordNet's own file format, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LICENCE = "  1 This software and database is being provided to you, the LICENSEE, by  \n"
NUMBERS = {"noun": (1, "n"), "verb": (2, "v"), "adj": (3, "a")}


@dataclass
class Meaning:
    words: Sequence[str]
    above: Sequence[str] = ()  # names of meanings
    gloss: str = "something"
    tagged: int = 1  # how often the first word was met in this meaning
    opposite: str | None = None


def write_wordnet(folder: Path, parts: Mapping[str, Mapping[str, Meaning]], halves: bool = False) -> Path:
    """Write the meanings of each part of speech; a word's senses are in the order of its meanings."""
    folder.mkdir(parents=True, exist_ok=True)
    senses = []
    for part, (number, letter) in NUMBERS.items():
        meanings = parts.get(part, {})
        lines, places = _data(meanings, letter)
        if halves and part == "noun":
            half = len(lines) // 2
            (folder / "data.noun1").write_text(LICENCE + "".join(lines[:half]))
            (folder / "data.noun2").write_text("".join(lines[half:]))
        else:
            (folder / f"data.{part}").write_text(LICENCE + "".join(lines))
        index: dict[str, list[str]] = {}
        for name, meaning in meanings.items():
            for position, word in enumerate(meaning.words):
                index.setdefault(_listed(word), []).append(places[name])
                count = meaning.tagged if position == 0 else 0
                order = len(index[_listed(word)])
                senses.append(f"{_listed(word)}%{number}:03:00:: {places[name]} {order} {count}\n")
        entries = [
            f"{word} {letter} {len(found)} 1 @ {len(found)} 0 {' '.join(found)}  \n"
            for word, found in sorted(index.items())
        ]
        (folder / f"index.{part}").write_text(LICENCE + "".join(entries))
    (folder / "index.sense").write_text("".join(sorted(senses)))
    return folder


def _data(meanings: Mapping[str, Meaning], letter: str) -> tuple[list[str], dict[str, str]]:
    places: dict[str, str] = dict.fromkeys(meanings, "0" * 8)
    lines: list[str] = []
    for _ in range(2):  # a place has eight digits always, so that the second round finds the true ones
        lines, at = [], len(LICENCE)
        for name, meaning in meanings.items():
            pointers = [f"@ {places[above]} {letter} 0000" for above in meaning.above]
            pointers += [
                f"~ {places[each]} {letter} 0000" for each in meanings if name in meanings[each].above
            ]
            if meaning.opposite:
                pointers.append(f"! {places[meaning.opposite]} {letter} 0101")
            words = " ".join(f"{word} 0" for word in meaning.words)
            head = f"{len(meaning.words):02x} {words} {len(pointers):03d} {' '.join(pointers)}"
            lines.append(f"{at:08d} 05 {letter} {head} | {meaning.gloss}  \n")
            places[name] = f"{at:08d}"
            at += len(lines[-1])
    return lines, places


def _listed(word: str) -> str:
    return word.partition("(")[0].lower()  # `hot(p)` stands behind the noun
