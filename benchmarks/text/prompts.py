"""Prompts of the text engine's benchmarks: two workloads, the same on every machine."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

SYSTEM = "You are a helpful assistant. Answer in a few plain sentences."
SUBJECTS = [
    "rain",
    "bread",
    "a lighthouse",
    "the moon",
    "chess",
    "a compass",
    "glaciers",
    "honey",
    "a bicycle",
    "paper",
    "volcanoes",
    "tea",
    "the violin",
    "salt",
    "a telescope",
    "bees",
    "winter",
    "steam engines",
    "maps",
    "the Nile",
    "coral",
    "glass",
    "a library",
    "windmills",
    "owls",
    "silk",
    "bridges",
    "clouds",
    "iron",
    "a harbour",
    "apples",
    "the printing press",
]
QUESTIONS = (
    "Explain to a child how {} works.",
    "Write two sentences about the history of {}.",
    "Why do people care about {}? Give one reason.",
    "Name three facts about {}.",
    "Write the first lines of a story in which {} plays a part.",
    "Compare {} with the sea.",
    "What would a farmer say about {}?",
    "Give one piece of advice about {}.",
)


@dataclass(frozen=True, slots=True)
class Prompt:
    messages: tuple[tuple[str, str], ...]  # role, content
    max_tokens: int

    def chat(self) -> list[dict[str, str]]:
        return [{"role": role, "content": content} for role, content in self.messages]


def chat_prompts(count: int, max_tokens: int = 128) -> list[Prompt]:
    """Short questions under one system prompt, each asked at most once while there are enough."""
    pairs = [(question, subject) for subject in SUBJECTS for question in QUESTIONS]
    random.Random(7).shuffle(pairs)
    return [_prompt(*pairs[n % len(pairs)], max_tokens) for n in range(count)]


def heavy_prompts(count: int, longest: int = 512) -> list[Prompt]:
    """The same questions with a heavy tail of allowed lengths: half below 48 tokens, one in fifty at `longest`."""
    draws = random.Random(11)
    limits = [min(longest, max(8, round(math.exp(draws.gauss(math.log(48), 1.15))))) for _ in range(count)]
    return [Prompt(prompt.messages, limit) for prompt, limit in zip(chat_prompts(count), limits, strict=True)]


def _prompt(question: str, subject: str, max_tokens: int) -> Prompt:
    return Prompt((("system", SYSTEM), ("user", question.format(subject))), max_tokens)


WORKLOADS = {"chat": (chat_prompts, 256), "heavy": (heavy_prompts, 2000)}
