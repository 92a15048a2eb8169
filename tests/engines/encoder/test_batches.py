"""Encoder batches: one padded length a batch, budgets kept, nobody starves, nobody is lost."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from raygen.engines.encoder.batches import UNIT, EncoderBatches, padded_length
from raygen.engines.requests import BATCH, INTERACTIVE


@dataclass(eq=False)
class Text:
    size: int
    cancelled: bool = False


@pytest.mark.parametrize(
    ("size", "longest", "padded"),
    [
        (0, None, 16),
        (1, None, 16),
        (16, None, 16),
        (17, None, 32),
        (500, 510, 510),
        (500, 512, 512),
        (5, 10, 10),
    ],
)
def test_padded_length_is_a_multiple_unless_positions_end(size: int, longest: int | None, padded: int):
    assert padded_length(size, longest) == padded


@pytest.mark.parametrize("seed", range(20))
def test_every_text_once_in_batches_of_one_length_within_the_budgets(seed: int):
    rng = random.Random(seed)
    max_tokens, max_rows = rng.choice([16, 64, 300]), rng.choice([1, 3, 50])
    batches: EncoderBatches[Text] = EncoderBatches(max_tokens, max_rows)
    waiting = [Text(rng.randint(1, 200)) for _ in range(rng.randint(0, 80))]
    taken: list[Text] = []
    added = 0
    while added < len(waiting) or len(batches):
        more = rng.randint(0, 9)
        batches.add(waiting[added : added + more])
        added += more
        length, batch = batches.take()
        assert length % UNIT == 0
        assert all(padded_length(text.size) == length for text in batch)
        assert len(batch) <= max_rows
        assert len(batch) <= 1 or length * len(batch) <= max_tokens
        taken += batch
    assert batches.take() == (0, [])
    assert len(taken) == len(waiting)
    assert {id(text) for text in taken} == {id(text) for text in waiting}


def test_who_waits_longest_is_next_and_its_like_ride_along():
    batches: EncoderBatches[Text] = EncoderBatches(1000, 10)
    first, second, third = Text(100), Text(3), Text(110)
    batches.add([first, second, third])
    assert batches.take() == (112, [first, third])
    assert batches.take() == (16, [second])


def test_a_rare_length_does_not_starve():
    batches: EncoderBatches[Text] = EncoderBatches(32, 2)
    rare = Text(100)
    batches.add([Text(3), Text(3), rare])
    for turn in range(3):
        batches.add([Text(3), Text(3)])
        if rare in batches.take()[1]:
            assert turn == 1
            return
    pytest.fail("the rare text was never taken")


def test_cancelled_texts_are_never_handed_out():
    batches: EncoderBatches[Text] = EncoderBatches(1000, 10)
    texts = [Text(3) for _ in range(6)]
    batches.add(texts)
    texts[0].cancelled = texts[3].cancelled = texts[5].cancelled = True
    assert batches.take() == (16, [texts[1], texts[2], texts[4]])
    assert len(batches) == 0


def test_people_go_before_batches_which_keep_a_turn_in_a_few():
    batches: EncoderBatches[Text] = EncoderBatches(16, 1)
    batches.add([Text(5) for _ in range(4)], BATCH)
    people = [Text(7) for _ in range(20)]
    batches.add(people, INTERACTIVE)
    taken = [batches.take()[1][0] for _ in range(24)]
    turns = [number for number, text in enumerate(taken) if text.size == 5]
    assert turns == [7, 15, 22, 23]
    assert [text for text in taken if text.size == 7] == people


def test_alone_either_kind_is_taken_in_the_order_of_arrival():
    for priority in (INTERACTIVE, BATCH):
        batches: EncoderBatches[Text] = EncoderBatches(16, 1)
        texts = [Text(size) for size in (5, 40, 7)]
        batches.add(texts, priority)
        assert [batches.take()[1][0] for _ in range(3)] == texts
