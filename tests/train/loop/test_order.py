"""Order: every block once an epoch, steps of about the wanted size, the same wherever it is asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from raygen.train.families.base import Block
from raygen.train.loop.order import steps_of, total_steps


def blocks(*tokens: int) -> list[Block]:
    return [Block(0, i, 1, each, 1) for i, each in enumerate(tokens)]


@given(st.lists(st.integers(1, 100), max_size=60), st.integers(0, 5), st.integers(0, 5), st.integers(16, 300))
def test_every_block_is_in_one_step(tokens: list[int], seed: int, epoch: int, wanted: int) -> None:
    steps = steps_of(blocks(*tokens), seed, epoch, wanted)
    assert sorted(number for step in steps for number in step) == list(range(len(tokens)))
    assert all(steps)
    for step in steps[:-1]:  # one block fewer or one more would not be nearer to what was wanted
        assert 2 * sum(tokens[i] for i in step) + 100 >= 2 * wanted
        assert 2 * sum(tokens[i] for i in step[:-1]) + tokens[step[-1]] <= 2 * wanted or len(step) == 1


def test_a_step_does_not_take_a_second_block_for_a_few_tokens() -> None:
    assert [len(step) for step in steps_of(blocks(*[4000] * 5), 0, 0, 4096)] == [1] * 5
    assert [len(step) for step in steps_of(blocks(*[4000] * 5), 0, 0, 8192)] == [2, 2, 1]


def test_seed_and_epoch_decide_the_order_for_ever() -> None:
    same = blocks(*[10] * 8)
    assert steps_of(same, 7, 0, 20) == [[6, 3], [2, 1], [7, 0], [4, 5]]
    orders = {str(steps_of(same, seed, epoch, 20)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_total_steps_counts_all_epochs_up_to_the_bound() -> None:
    some = blocks(*[10] * 7)
    assert total_steps(some, 0, 3, 20) == 3 * 4
    assert total_steps(some, 0, 3, 20, max_steps=5) == 5
    assert total_steps(some, 0, 10**9, 20, max_steps=5) == 5
