"""Pieces are joined, never delayed at either end, never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from raygen.engines.requests import GenerateChunk, TokenLogprob
from raygen.wire.coalesce import coalesced

HOURS = 3600.0


async def pieces(texts: str, index: int = 0, error: Exception | None = None) -> AsyncIterator[GenerateChunk]:
    for number, text in enumerate(texts):
        await asyncio.sleep(0)
        finish = "stop" if number == len(texts) - 1 and error is None else None
        chunk = GenerateChunk(index, text, number + 1, finish, [TokenLogprob(1, text, -1.0)])
        chunk.prompt_tokens = 3 if number == 0 else None
        yield chunk
    if error is not None:
        raise error


def collected(*sources, samples=1, every_s=HOURS):
    async def collect():
        return [chunk async for chunk in coalesced(sources, samples, every_s)]

    return asyncio.run(collect())


def test_the_first_piece_comes_at_once_and_the_last_with_all_between():
    first, last = collected(pieces("abcde"))
    assert (first.text, first.prompt_tokens, first.finish_reason) == ("a", 3, None)
    assert (last.text, last.output_tokens, last.finish_reason) == ("bcde", 5, "stop")
    assert [each.token for each in last.logprobs] == ["b", "c", "d", "e"]


def test_without_a_pause_nothing_is_joined():
    assert [chunk.text for chunk in collected(pieces("abc"), every_s=0.0)] == ["a", "b", "c"]


def test_what_is_held_goes_when_its_time_has_come_though_nothing_follows():
    read = asyncio.Event()

    async def two_then_silence():
        yield GenerateChunk(0, "a", 1)
        await read.wait()
        yield GenerateChunk(0, "b", 2)
        await asyncio.sleep(HOURS)

    async def first_two():
        async with aclosing(coalesced([two_then_silence()], 1, 0.001)) as chunks:
            first = await anext(chunks)
            read.set()
            return [first.text, (await anext(chunks)).text]

    assert asyncio.run(first_two()) == ["a", "b"]


def test_texts_of_several_prompts_come_under_indexes_of_their_own():
    found = collected(pieces("ab", 1), pieces("cd"), samples=2)
    texts = {}
    for chunk in found:
        texts[chunk.index] = texts.get(chunk.index, "") + chunk.text
    assert texts == {1: "ab", 2: "cd"}


def test_an_error_comes_behind_the_pieces_that_came_before():
    found = []

    async def collect():
        async for chunk in coalesced([pieces("abc", error=ValueError("broke"))], 1, HOURS):
            found.append(chunk.text)

    with pytest.raises(ValueError, match="broke"):
        asyncio.run(collect())
    assert "".join(found) == "abc"


def test_a_reader_that_leaves_ends_the_source():
    left = []

    async def endless():
        try:
            while True:
                yield GenerateChunk(0, "x", 1)
                await asyncio.sleep(0)
        finally:
            left.append(True)

    async def read_one():
        async with aclosing(coalesced([endless()], 1, HOURS)) as chunks:
            await anext(chunks)

    asyncio.run(read_one())
    assert left == [True]


def test_a_slow_reader_gets_larger_pieces():
    async def read_slowly():
        found = []
        async for chunk in coalesced([pieces("abcdefgh")], 1, 0.0):
            found.append(chunk.text)
            for _ in range(30):
                await asyncio.sleep(0)
        return found

    assert asyncio.run(read_slowly()) == ["a", "bcdefgh"]


def test_the_last_piece_does_not_wait():
    read = asyncio.Event()

    async def two_then_silence():
        yield GenerateChunk(0, "a", 1)
        await read.wait()
        yield GenerateChunk(0, "b", 2, "stop")
        await asyncio.sleep(HOURS)

    async def both():
        async with aclosing(coalesced([two_then_silence()], 1, HOURS)) as chunks:
            first = await anext(chunks)
            second = asyncio.ensure_future(anext(chunks))
            for _ in range(5):  # it waits by now
                await asyncio.sleep(0)
            read.set()
            return first.text + (await asyncio.wait_for(second, 10)).text

    assert asyncio.run(both()) == "ab"
