from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from raygen.serve.cluster.paced import paced


async def letters(
    word: str, pause_s: float = 0.0, fault: Exception | None = None
) -> AsyncGenerator[str, None]:
    for letter in word:
        yield letter
        await asyncio.sleep(pause_s)
    if fault is not None:
        raise fault


async def gathered(word: str, every_s: float, pause_s: float = 0.0) -> list[list[str]]:
    return [bundle async for bundle in paced(letters(word, pause_s), every_s)]


def test_the_first_piece_comes_at_once_and_alone() -> None:
    found = asyncio.run(gathered("abcdef", every_s=60.0))
    assert found == [["a"], ["b", "c", "d", "e", "f"]]


def test_a_slow_writer_s_pieces_come_one_by_one() -> None:
    assert asyncio.run(gathered("abc", every_s=0.0001, pause_s=0.01)) == [["a"], ["b"], ["c"]]


def test_nothing_is_lost_when_the_writer_fails_and_its_error_is_raised() -> None:
    got: list[str] = []

    async def reading() -> None:
        async for bundle in paced(letters("abc", fault=ValueError("ink")), 60.0):
            got.extend(bundle)

    with pytest.raises(ValueError, match="ink"):
        asyncio.run(reading())
    assert got == ["a", "b", "c"]


def test_a_reader_that_leaves_ends_the_writer() -> None:
    ended: list[str] = []

    async def endless() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0.001)
        finally:
            ended.append("writer")

    async def leaving() -> None:
        bundles = paced(endless(), 0.001)
        await anext(bundles)
        await bundles.aclose()
        assert ended == ["writer"]

    asyncio.run(leaving())
