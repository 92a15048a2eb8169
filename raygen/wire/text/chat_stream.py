"""Chat stream: a chat completion in pieces, from the pieces of an engine's texts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from raygen.engines.reasoning import ReasoningStream
from raygen.engines.requests import GenerateChunk, TokenLogprob
from raygen.wire.text.chat_answer import finish_with
from raygen.wire.text.logprobs import chat_logprobs
from raygen.wire.text.tool_calls import Call, CallFinder, told_calls
from raygen.wire.text.usage import share_of


class ChoiceStream:
    """One choice, while its text comes in.

    Args:
        tags, names, most_calls: as `choices_of` takes them.
    """

    def __init__(
        self,
        index: int,
        answer_id: str,
        tags: tuple[str, str] | None,
        names: Collection[str],
        most_calls: int | None,
    ) -> None:
        self._index, self._answer_id, self._most_calls = index, answer_id, most_calls
        self._reasoning = None if tags is None else ReasoningStream(tags)
        self._finder = CallFinder(names) if names else None
        self._begun = self._reasoned = False
        self._calls = 0
        self._whole = self._answer = 0  # characters that came, and those of them that are answer
        self._logprobs: list[TokenLogprob] = []  # of tokens whose text is held back

    def push(self, chunk: GenerateChunk) -> Iterator[dict[str, Any]]:
        """Yield the choices of chunks that a piece of text becomes. Raises RowError `bad_answer`."""
        if not self._begun:
            self._begun = True
            yield self._choice({"role": "assistant", "content": "", "refusal": None})
        self._logprobs += chunk.logprobs or ()
        self._whole += len(chunk.text)
        thought, answer = ("", chunk.text) if self._reasoning is None else self._reasoning.push(chunk.text)
        finish = chunk.finish_reason
        if finish is not None and self._reasoning is not None:
            last_thought, last_answer = self._reasoning.end(finish, chunk.reasoning is not None)
            thought, answer = thought + last_thought, answer + last_answer
        self._answer += len(answer)
        calls: list[Call] = []
        if self._finder is not None:
            answer, calls = self._finder.push(answer)
            if finish is not None:
                more, last = self._finder.end()
                answer, calls = answer + more, calls + last
        if chunk.reasoning is not None:
            thought = "\n\n".join(each for each in (chunk.reasoning, thought) if each)
        if chunk.tool_calls is not None:
            calls = told_calls(chunk.tool_calls)
        yield from self._deltas(thought, answer, calls)
        if finish is not None:
            yield self._choice({}, finish_with(finish, self._calls))

    def reasoning_tokens(self, output_tokens: int) -> int:
        """Return about how many of the choice's tokens are reasoning."""
        return share_of(output_tokens, self._answer, self._whole) if self._reasoned else 0

    def _deltas(self, thought: str, answer: str, calls: list[Call]) -> Iterator[dict[str, Any]]:
        if thought:
            self._reasoned = True
            yield self._choice({"reasoning_content": thought})
        if answer:
            yield self._choice({"content": answer})
        for call in calls:
            if self._most_calls is not None and self._calls >= self._most_calls:
                break
            told = {"index": self._calls, **call.body(self._answer_id, self._index, self._calls)}
            self._calls += 1
            yield self._choice({"tool_calls": [told]})

    def _choice(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        logprobs = None
        if self._logprobs and "role" not in delta:
            logprobs, self._logprobs = chat_logprobs(self._logprobs), []
        return {"index": self._index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
