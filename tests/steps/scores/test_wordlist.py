"""Word lists: shares of words, phrases, and lists in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from raygen.program.job import Job
from raygen.steps.scores.wordlist import MOST_BYTES
from tests.steps.scripted import Writer, job_of, run


def job(**config: Any) -> Job:
    generate = {"generate": {"model": "writer", "prompt": "x"}}
    return job_of(generate, {"name": "rude", "score": {"wordlist": config}})


def share(text: str, *words: str) -> float:
    found = run(job(words=words), Writer(lambda prompt, n: text))
    return float(found.samples[0]["scores"]["rude"])


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("You Fool, you fool!", ["fool"], 2 / 4),
        ("foolish", ["fool"], 0),
        ("a b c d", ["b c"], 2 / 4),
        ("a b c d", ["a b", "b c"], 3 / 4),
        ("a b a b", ["a b", "b"], 1),
        ("a b c d e", ["a b c d", "b", "e"], 1),
        ("b c", ["b c d"], 0),
        ("a b c", ["a", "a b"], 2 / 3),
        ("...!", ["a"], 0),
        ("don’t", ["Don't"], 1),
        ("STRASSE straße", ["Straße"], 1),
    ],
)
def test_known_shares(text: str, words: list[str], expected: float) -> None:
    assert share(text, *words) == expected


def test_a_file_becomes_a_part_of_the_job(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("\ufeff# rude\nFool\n\n  b c \nfool\n")
    made = job(path=str(path))
    assert made.steps[1].config.wordlist.words == ("b c", "fool")
    assert made.config_hash() == job(words=["fool", "b c"]).config_hash()
    again = Job.model_validate(made.model_dump(mode="json"))
    path.write_text("other")
    assert again.config_hash() == made.config_hash()  # the file is not read again
    assert job(path=str(path)).config_hash() != made.config_hash()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, r"steps\.1\.score\.wordlist\.words"),
        ({"words": []}, r"steps\.1\.score\.wordlist\.words"),
        ({"words": ["a", "!?"]}, "'!\\?' has neither a letter nor a digit"),
        ({"words": ["a"], "path": "x"}, "give exactly one of words, path"),
        ({"path": "nowhere.txt"}, "nowhere.txt cannot be read: No such file"),
        ({"path": 3}, "a path is a text, not 3"),
        ({"words": ["a"] * 10_001}, r"steps\.1\.score\.wordlist\.words"),
        ({"wrods": ["a"]}, r"steps\.1\.score\.wordlist\.wrods"),
    ],
)
def test_what_cannot_be_is_refused_before_work(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        job(**config)


def test_files_that_are_no_lists_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    for data, message in (
        (b"\xff\xfe\x00a", "is not UTF-8"),
        (b"a" * (MOST_BYTES + 1), "is larger than 1,048,576 bytes"),
        (b"# nothing\n", r"steps\.1\.score\.wordlist\.words"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValidationError, match=message):
            job(path=str(path))
    with pytest.raises(ValidationError, match="cannot be read: Is a directory"):
        job(path=str(tmp_path))
