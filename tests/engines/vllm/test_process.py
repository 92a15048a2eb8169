"""What vLLM says of how a text ended, without vLLM: a stand-in says it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from raygen.engines.vllm.process import VLLMProcess
from raygen.errors import RowError


class NeverError(Exception):
    pass


def process_of(*reasons: str | None) -> VLLMProcess:
    """One whose vLLM gives a piece of text for each of these."""

    async def generate(*arguments: Any, **named: Any) -> AsyncIterator[Any]:
        for reason in reasons:
            yield SimpleNamespace(outputs=[SimpleNamespace(finish_reason=reason, text="x")])

    made = object.__new__(VLLMProcess)
    made._llm = SimpleNamespace(generate=generate, errored=False)
    made._SamplingParams = made._StructuredOutputsParams = SimpleNamespace  # type: ignore[assignment]
    made._kinds = {True: "delta", False: "final"}
    made._tokens_input = list  # type: ignore[assignment]
    made._ids = itertools.count()
    made._ClientError = made._GenerateError = made._DeadError = NeverError
    return made


def ends(*reasons: str | None) -> list[Any]:
    async def main() -> list[Any]:
        asked = process_of(*reasons).ask([1], {}, None, None, stream=True)
        return [output.outputs[0].finish_reason async for output in asked]

    return asyncio.run(main())


def test_a_text_that_ended_is_given() -> None:
    assert ends(None, "stop") == [None, "stop"]
    assert ends("length") == ["length"]


@pytest.mark.parametrize("reason", ["abort", "error", "repetition"])
def test_a_text_that_was_ended_fails_its_row_alone(reason: str) -> None:
    with pytest.raises(RowError, match=f"vLLM ended the text with '{reason}'") as failed:
        ends(None, reason)
    assert failed.value.code == "generation_failed"
