"""Prefix blocks: found by what prompts have in common, bounded, the least recent go first."""

from __future__ import annotations

import random

from raygen.engines.torch.memory.prefixes import BLOCK, Node, Prefixes


def keep(prefixes: Prefixes, prompt: list[int], adapter: str | None = None) -> int:
    """Compute a prompt as the engine does; return how many of its tokens were there."""
    found, busy = prefixes.find(prompt, adapter)
    assert not busy
    prefixes.use(found)
    prefixes.publish(prefixes.claim(prompt, adapter, found))
    return len(found) * BLOCK


def prompt(*blocks: int, rest: int = 1) -> list[int]:
    return [token for block in blocks for token in [block] * BLOCK] + [-1] * rest


def test_what_two_prompts_share_is_found():
    prefixes = Prefixes(100)
    assert keep(prefixes, prompt(1, 2, 3)) == 0
    assert keep(prefixes, prompt(1, 2, 4)) == 2 * BLOCK
    assert keep(prefixes, prompt(1, 2, 3, 9)) == 3 * BLOCK
    assert keep(prefixes, prompt(2, 1)) == 0
    assert keep(prefixes, prompt(1, 2, 3), adapter="french") == 0


def test_the_last_token_is_always_computed():
    prefixes = Prefixes(100)
    keep(prefixes, prompt(1, 2))
    assert keep(prefixes, prompt(1, 2, rest=0)) == BLOCK
    assert keep(prefixes, prompt(1, rest=0)) == 0
    assert keep(prefixes, []) == 0


def test_prompts_that_part_within_a_block_share_its_beginning():
    prefixes = Prefixes(2)
    keep(prefixes, [*prompt(1), 5, 6, 7, *[0] * BLOCK])
    found, _ = prefixes.find([*prompt(1), 5, 6, 9, 9, 9, 9, 9, 9, 9], None)
    assert len(found) == 1
    second = found[0].children[-1, 5, 6, 7, 0, 0, 0, 0]
    assert prefixes.partial([*prompt(1), 5, 6, 9, 9], None, found) == (second, 3)
    assert prefixes.partial([*prompt(1), 5, 6], None, found) == (second, 2)  # the last token is computed
    assert prefixes.partial([*prompt(1, rest=0), 8, 8], None, found) == (None, 0)
    assert prefixes.partial([1, 1, 1, 4], None, []) == (found[0], 3)
    assert prefixes.partial([1, 1, 1, 4], "french", []) == (None, 0)
    keep(prefixes, [*prompt(1, rest=0), 8, 8, *[0] * BLOCK])  # takes the second one's place
    assert prefixes.partial([*prompt(1), 5, 6, 9, 9], None, found) == (None, 0)


def test_blocks_that_somebody_computes_are_waited_for_and_may_be_given_up():
    prefixes = Prefixes(100)
    claimed = prefixes.claim(prompt(1, 2), None, [])
    assert prefixes.find(prompt(1, 3), None) == ([], True)
    assert prefixes.find(prompt(4), None) == ([], False)
    prefixes.publish(claimed[:1])
    found, busy = prefixes.find(prompt(1, 2, 5), None)
    assert (found, busy) == (claimed[:1], True)
    prefixes.abandon(claimed[1:])
    assert prefixes.find(prompt(1, 2, 5), None) == (claimed[:1], False)


def test_the_least_recent_go_first_and_a_shared_beginning_stays():
    prefixes = Prefixes(4)
    for number in range(2, 50):
        assert keep(prefixes, prompt(1, number)) == (BLOCK if number > 2 else 0)
    keep(prefixes, prompt(7))
    keep(prefixes, prompt(8))
    keep(prefixes, prompt(1, 49))  # in use again
    keep(prefixes, prompt(9))
    assert prefixes.find(prompt(7), None) == ([], False)
    assert len(prefixes.find(prompt(1, 49), None)[0]) == 2


def test_a_long_prompt_does_not_push_out_its_own_beginning():
    prefixes = Prefixes(3)
    claimed = prefixes.claim(prompt(1, 2, 3, 4, 5), None, [])
    assert len(claimed) == 3
    assert Prefixes(0).claim(prompt(1), None, []) == []


def test_no_block_is_ever_in_two_places():
    chance = random.Random(1)
    prefixes = Prefixes(20)
    under_way: list[list[Node]] = []
    for _ in range(3000):
        if under_way and chance.random() < 0.5:
            nodes = under_way.pop(chance.randrange(len(under_way)))
            part = chance.randrange(len(nodes) + 1)
            prefixes.publish(nodes[:part])
            prefixes.abandon(nodes[part:])
        else:
            wanted = prompt(*(chance.randrange(3) for _ in range(chance.randrange(6))))
            found, busy = prefixes.find(wanted, None)
            if not busy:
                prefixes.use(found)
                under_way.append(prefixes.claim(wanted, None, found))
        nodes, todo = [], list(prefixes._roots.values())
        while todo:
            node = todo.pop()
            todo += node.children.values()
            nodes += node.children.values()
        blocks = [node.block for node in nodes] + prefixes._free
        assert sorted(blocks) == list(range(20))
    assert prefixes.evicted > 50
    assert len(prefixes._leaves) < 1000
