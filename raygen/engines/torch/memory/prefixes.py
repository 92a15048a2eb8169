"""Prefixes: which beginnings of prompts have their keys and values kept, in blocks of a few tokens. Plain Python.

A tree of blocks under each adapter: two prompts share the blocks of what they have in common. The number of
blocks is bounded; the one that was of no use for longest goes first, if no longer prefix needs it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import count

BLOCK = 8  # tokens


class Node:
    """One block: its tokens after those of its parents. `block` is its number in the store."""

    __slots__ = ("beginnings", "block", "children", "key", "parent", "ready", "start", "used", "users")

    def __init__(self, parent: Node | None, key: tuple[int, ...], block: int) -> None:
        self.parent = parent
        self.key = key
        self.start: int = (
            0 if parent is None else parent.start + len(parent.key)
        )  # position of its first token
        self.block = block
        self.children: dict[tuple[int, ...], Node] = {}
        self.beginnings: dict[
            tuple[int, ...], Node
        ] = {}  # the first tokens of a child that is ready, of each number
        self.ready = False  # its keys and values are in the store
        self.users = 0  # claims on what follows it: it must stay
        self.used = 0  # when it last was


class Prefixes:
    """At most `blocks` blocks of prompts.

    `find` tells what a prompt may reuse, `claim` promises to compute the rest, `publish` or `abandon` ends a promise.
    """

    def __init__(self, blocks: int) -> None:
        self._roots: dict[str | None, Node] = {}
        self._free = list(range(blocks - 1, -1, -1))
        self._blocks = blocks
        self._clock = count(1)
        self._leaves: list[tuple[int, int, Node]] = []  # a heap: last use, block; some entries are outdated
        self.version = 0  # changes with everything that `find` depends on
        self.evicted = 0

    def find(self, prompt: Sequence[int], adapter: str | None) -> tuple[list[Node], bool]:
        """Return the ready blocks that a prompt begins with, and whether somebody is computing the next one.

        The last token is never among them: its logits are needed.
        """
        found: list[Node] = []
        node = self._root(adapter)
        for start in range(0, len(prompt) - BLOCK, BLOCK):
            child = node.children.get(tuple(prompt[start : start + BLOCK]))
            if child is None:
                return found, False
            if not child.ready:
                return found, True
            found.append(child)
            node = child
        return found, False

    def partial(
        self, prompt: Sequence[int], adapter: str | None, found: Sequence[Node]
    ) -> tuple[Node | None, int]:
        """Return the ready block after those found whose first tokens the prompt goes on with, and how many they are.

        Prompts under one system prompt part in the middle of a block. The last token is never among them.
        """
        node = found[-1] if found else self._root(adapter)
        start = len(found) * BLOCK
        for tokens in range(min(BLOCK - 1, len(prompt) - 1 - start), 0, -1):
            child = node.beginnings.get(tuple(prompt[start : start + tokens]))
            if child is not None:
                return child, tokens
        return None, 0

    def use(self, nodes: Sequence[Node]) -> None:
        """Mark blocks, each the parent of the next, as just used."""
        now = next(self._clock)
        for node in nodes:
            node.used = now
        if nodes:
            self._offer(nodes[-1])

    def claim(self, prompt: Sequence[int], adapter: str | None, found: Sequence[Node]) -> list[Node]:
        """Return new blocks for what follows those found, to be computed by the caller; fewer if there is no room."""
        node = found[-1] if found else self._root(adapter)
        claimed: list[Node] = []
        for each in found:
            each.users += 1
        for start in range(len(found) * BLOCK, len(prompt) - BLOCK, BLOCK):
            block = self._take()
            if block is None:
                break
            child = Node(node, tuple(prompt[start : start + BLOCK]), block)
            node.children[child.key] = child
            claimed.append(child)
            node = child
        for each in found:
            each.users -= 1
        if claimed:
            self.version += 1
        return claimed

    def publish(self, nodes: Sequence[Node]) -> None:
        """Note that the store holds these blocks now."""
        now = next(self._clock)
        for node in nodes:
            node.ready, node.used = True, now
            self._offer(node)
            assert node.parent is not None
            for tokens in range(1, BLOCK):
                node.parent.beginnings[node.key[:tokens]] = node
        if nodes:
            self.version += 1

    def abandon(self, nodes: Sequence[Node]) -> None:
        """Give up blocks that will not be computed: the end of their branch; nothing goes on from a block that is not ready."""
        for node in reversed(nodes):
            self._drop(node)
        if nodes:
            self.version += 1

    def forget(self, adapter: str) -> None:
        """Give up all blocks of an adapter of which nobody computes any."""
        root = self._roots.pop(adapter, None)
        found = [] if root is None else list(root.children.values())
        for node in found:  # grows: each node comes before its children
            found += node.children.values()
        self.abandon(found)

    def _root(self, adapter: str | None) -> Node:
        if adapter not in self._roots:
            self._roots[adapter] = Node(None, (), -1)
        return self._roots[adapter]

    def _take(self) -> int | None:
        if not self._free:
            oldest = self._oldest()
            if oldest is None:
                return None
            self._drop(oldest)
            self.evicted += 1
        return self._free.pop()

    def _oldest(self) -> Node | None:
        kept = []
        found = None
        while self._leaves and found is None:
            entry = heapq.heappop(self._leaves)
            used, _, node = entry
            if node.used != used or not _removable(node):
                continue
            if node.users:
                kept.append(entry)
            else:
                found = node
        for entry in kept:
            heapq.heappush(self._leaves, entry)
        return found

    def _offer(self, node: Node) -> None:
        """Note a block that may be removed some day."""
        if _removable(node):
            heapq.heappush(self._leaves, (node.used, node.block, node))
            if len(self._leaves) > 4 * self._blocks + 64:  # mostly outdated
                unique = {id(n): (used, block, n) for used, block, n in self._leaves if n.used == used}
                self._leaves = [entry for entry in unique.values() if _removable(entry[2])]
                heapq.heapify(self._leaves)

    def _drop(self, node: Node) -> None:
        parent = node.parent
        assert parent is not None
        del parent.children[node.key]
        for tokens in range(1, BLOCK):
            if parent.beginnings.get(node.key[:tokens]) is node:
                del parent.beginnings[node.key[:tokens]]
        node.ready, node.used = False, -1
        self._free.append(node.block)
        self._offer(parent)


def _removable(node: Node) -> bool:
    return node.ready and not node.children
