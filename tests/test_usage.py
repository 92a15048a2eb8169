"""Usage: amounts of any unit are added up, told in words, and read in whatever form a version wrote them."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass

import orjson
import pytest

from raygen.usage import Usage, total, unit_of, with_usage


@dataclass
class Held:
    usage: Usage


def test_amounts_of_all_units_are_added_up() -> None:
    first, second = Usage(output_tokens=3, images=1), Usage(images=2, credits=0.5)
    assert first + second == {"output_tokens": 3, "images": 3, "credits": 0.5}
    assert (first, second) == ({"output_tokens": 3, "images": 1}, {"images": 2, "credits": 0.5})
    assert total([first, second, first])["images"] == 4
    assert total([]) == {}
    assert first.at_least(second) == {"output_tokens": 3, "images": 2, "credits": 0.5}


def test_it_stays_usage_on_its_way() -> None:
    held = Held(Usage(images=1, audio_seconds=2.5))
    assert isinstance(asdict(held)["usage"], Usage)
    assert isinstance(pickle.loads(pickle.dumps(held.usage)), Usage)
    assert orjson.dumps(held) == b'{"usage":{"images":1,"audio_seconds":2.5}}'


@pytest.mark.parametrize(
    ("usage", "words", "made"),
    [
        (Usage(), "0 prompt and 0 output tokens", "0 tokens"),
        (Usage(prompt_tokens=1500, output_tokens=1), "1,500 prompt and 1 output tokens", "1 token"),
        (Usage(prompt_tokens=3), "3 prompt and 0 output tokens", "0 tokens"),
        (Usage(encoded_tokens=8), "0 prompt, 0 output and 8 encoded tokens", "0 tokens"),
        (
            Usage(images=12, audio_seconds=200),
            "12 images, 3 min 20 s of sound",
            "12 images, 3 min 20 s of sound",
        ),
        (Usage(output_tokens=5, images=1), "5 output tokens, 1 image", "5 tokens, 1 image"),
        (Usage(prompt_tokens=12, images=2), "12 prompt tokens, 2 images", "2 images"),
        (Usage(credits=2.5, frames=3), "3 frames, 2.5 credits", "3 frames, 2.5 credits"),
    ],
)
def test_amounts_in_words(usage: Usage, words: str, made: str) -> None:
    assert (usage.words(), usage.made_words()) == (words, made)


@pytest.mark.parametrize(
    ("usage", "lead", "rate"),
    [
        (Usage(), "output_tokens", "output tokens/s"),
        (Usage(prompt_tokens=9, encoded_tokens=9), "output_tokens", "output tokens/s"),
        (Usage(output_tokens=900, images=1), "images", "images/s"),
        (Usage(output_tokens=900, images=0), "output_tokens", "output tokens/s"),
        (Usage(audio_seconds=0.1, output_tokens=4), "audio_seconds", "s of sound/s"),
        (Usage(credits=1, prompt_tokens=4), "credits", "credits/s"),
    ],
)
def test_what_is_made_leads(usage: Usage, lead: str, rate: str) -> None:
    assert (usage.lead, unit_of(usage.lead).rate()) == (lead, rate)


def test_a_budget_of_tokens_counts_all_kinds() -> None:
    usage = Usage(prompt_tokens=1, output_tokens=20, encoded_tokens=300, images=4000)
    assert [usage.budgeted(name) for name in ("tokens", "output_tokens", "images", "frames")] == [
        321,
        20,
        4000,
        0,
    ]


def test_a_part_stands_for_all() -> None:
    usage = Usage(output_tokens=7, audio_seconds=1.25).times(1.5)
    assert usage == {"output_tokens": 10, "audio_seconds": 1.9}
    assert isinstance(usage["output_tokens"], int)


def test_records_of_all_versions_have_usage() -> None:
    former = {"tokens": {"prompt": 1, "output": 2}, "rows": 3}
    assert with_usage(former) == {"usage": {"prompt_tokens": 1, "output_tokens": 2}, "rows": 3}
    assert former["tokens"] == {"prompt": 1, "output": 2}
    assert with_usage({"usage": {"images": 1}})["usage"] + Usage(images=1) == {"images": 2}
    assert with_usage({"tokens": {}}) == {"usage": {}}
