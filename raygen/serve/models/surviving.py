"""Surviving: a stream whose replica dies goes on, word for word, on another one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from raygen.engines.requests import GenerateChunk
from raygen.errors import EngineError, ReplicaLostError

MOST_RESUMES = 2


@dataclass
class _Heard:
    """What of one sample was passed on, and how much of it has been said again."""

    text: str = ""
    tokens: int = 0
    ended: bool = False
    again: int = 0  # characters, in this attempt


@dataclass
class _Memory:
    """What was passed on, of all samples."""

    samples: dict[int, _Heard] = field(default_factory=dict)
    begun: bool = False

    def new_in(self, chunk: GenerateChunk) -> GenerateChunk | None:
        """Return what of a chunk was not passed on before; None: nothing.

        Raises:
            EngineError: the other replica says something else: it may not go on for the one that is gone.
        """
        heard = self.samples.setdefault(chunk.index, _Heard())
        if heard.ended:
            return None
        old = chunk.text[: len(heard.text) - heard.again]
        if not heard.text.startswith(old, heard.again):
            raise EngineError("the replica was lost, and another one answers otherwise")
        heard.again += len(chunk.text)
        new = chunk.text[len(old) :]
        if not new and chunk.finish_reason is None and chunk.output_tokens <= heard.tokens and self.begun:
            return None
        logprobs = chunk.logprobs
        if logprobs is not None:
            told = heard.tokens - (chunk.output_tokens - len(logprobs))
            logprobs = logprobs[max(0, told) :]
        found = replace(chunk, text=new, logprobs=logprobs)
        if self.begun:
            found = replace(found, prompt_tokens=None, cached_tokens=None, prompt_logprobs=None)
        heard.text += new
        heard.tokens = max(heard.tokens, chunk.output_tokens)
        heard.ended = chunk.finish_reason is not None
        self.begun = True
        return found

    def rewind(self) -> None:
        for heard in self.samples.values():
            heard.again = 0


async def surviving(
    attempt: Callable[[], AsyncGenerator[GenerateChunk, None]], resumable: Callable[[], bool]
) -> AsyncGenerator[GenerateChunk, None]:
    """Yield the chunks of a stream, each character once, by as many attempts as it takes.

    Args:
        attempt: asks a replica for the whole stream, with the same seeds each time.
        resumable: whether another replica would say the same; asked after a loss.

    Raises:
        ReplicaLostError: nobody can go on. EngineError: who could does not say the same. And what an attempt raises.
    """
    memory = _Memory()
    for resumes in range(MOST_RESUMES + 1):
        try:
            async with aclosing(attempt()) as chunks:
                async for chunk in chunks:
                    if (new := memory.new_in(chunk)) is not None:
                        yield new
            return
        except ReplicaLostError:
            if resumes == MOST_RESUMES or (memory.begun and not resumable()):
                raise
            memory.rewind()
