from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest

from raygen.engines.requests import GenerateChunk, TokenLogprob
from raygen.errors import EngineError, ReplicaLostError
from raygen.serve.models.surviving import surviving

Attempt = Sequence[GenerateChunk | Exception]


def said(*pieces: str, index: int = 0, end: str | None = "stop") -> list[GenerateChunk]:
    last = len(pieces) - 1
    return [
        GenerateChunk(
            index,
            piece,
            number + 1,
            end if number == last else None,
            logprobs=[TokenLogprob(None, piece, -1.0)],
            prompt_tokens=3 if number == 0 else None,
        )
        for number, piece in enumerate(pieces)
    ]


def heard(*attempts: Attempt, resumable: Callable[[], bool] = lambda: True) -> list[GenerateChunk]:
    left = list(attempts)

    async def attempt() -> AsyncGenerator[GenerateChunk, None]:
        for each in left.pop(0):
            if isinstance(each, Exception):
                raise each
            yield each

    async def all_of() -> list[GenerateChunk]:
        return [chunk async for chunk in surviving(attempt, resumable)]

    return asyncio.run(all_of())


LOST = ReplicaLostError("gone")
WHOLE = said("the ", "cat ", "sat")


def test_an_undisturbed_stream_is_passed_on_as_it_is() -> None:
    assert heard(WHOLE) == WHOLE


def test_after_a_loss_it_goes_on_where_it_stood() -> None:
    assert heard([*WHOLE[:2], LOST], WHOLE) == WHOLE


def test_pieces_that_are_cut_otherwise_come_to_the_same_text() -> None:
    found = heard([*WHOLE[:2], LOST], said("the c", "at s", "at"))
    assert "".join(chunk.text for chunk in found) == "the cat sat"
    assert found[-1].finish_reason == "stop"


def test_tokens_and_what_was_told_of_the_prompt_come_once() -> None:
    found = heard([*WHOLE[:2], LOST], WHOLE)
    assert [each.token for chunk in found for each in chunk.logprobs or []] == ["the ", "cat ", "sat"]
    assert [chunk.prompt_tokens for chunk in found] == [3, None, None]


def test_each_sample_goes_on_by_itself() -> None:
    other = said("a ", "dog", index=1)
    found = heard([WHOLE[0], *other, LOST], [*other, *WHOLE])
    texts = {index: "".join(c.text for c in found if c.index == index) for index in (0, 1)}
    assert texts == {0: "the cat sat", 1: "a dog"}
    assert sum(chunk.finish_reason is not None for chunk in found) == 2


def test_a_loss_before_the_first_piece_is_no_matter_of_replay() -> None:
    assert heard([LOST], WHOLE, resumable=lambda: False) == WHOLE


@pytest.mark.parametrize("attempts", [[[*WHOLE[:1], LOST]], [[*WHOLE[:1], LOST]] * 3])
def test_it_is_lost_where_nobody_would_say_the_same_or_the_third_is_lost_too(attempts: list[Attempt]) -> None:
    with pytest.raises(ReplicaLostError):
        heard(*attempts, resumable=lambda: len(attempts) > 1)


def test_another_text_is_never_put_behind_the_first() -> None:
    with pytest.raises(EngineError, match="otherwise"):
        heard([*WHOLE[:2], LOST], said("the ", "dog ", "sat"))


def test_what_is_no_loss_is_raised() -> None:
    with pytest.raises(EngineError):
        heard([WHOLE[0], EngineError("broken")], WHOLE)
