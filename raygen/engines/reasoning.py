"""Reasoning: what a model wrote between tags before its answer is told apart from it, whatever engine it came from."""

from __future__ import annotations

from dataclasses import replace

from raygen.engines.finish import LENGTH
from raygen.engines.requests import GeneratedSample


def told_apart(sample: GeneratedSample, tags: tuple[str, str]) -> GeneratedSample:
    """Return a sample whose text is the answer alone; what stood between the tags is its `reasoning`.

    - The first pair of tags counts; later ones are the answer's own.
    - Many chat templates open the tag in the prompt: then all before a closing tag is reasoning.
    - A tag that is not closed is reasoning to the end: there is no answer.
    - A text without any tag is an answer, unless it was cut off at max_tokens: nothing tells whether it had begun.
    """
    begin, end = tags
    text = sample.text
    close = text.find(end)
    opened = text.find(begin, 0, close if close >= 0 else None)
    if close >= 0:
        before, thought = (
            ("", text[:close]) if opened < 0 else (text[:opened], text[opened + len(begin) : close])
        )
        answer = before + text[close + len(end) :].lstrip()
    elif opened >= 0:
        thought, answer = text[:opened] + text[opened + len(begin) :], ""
    elif sample.finish_reason == LENGTH and sample.reasoning is None:
        thought, answer = text, ""
    else:
        return sample
    said = [each.strip() for each in (sample.reasoning, thought) if each is not None and each.strip()]
    return replace(sample, text=answer, reasoning="\n\n".join(said) or None)


class ReasoningStream:
    """Tells reasoning apart while a text comes in, as `told_apart` does of a whole one.

    A text that begins with the opening tag streams both. Of any other it is not known before a closing tag, or the end, whether
    it is reasoning (many chat templates open the tag in the prompt) or an answer: it is held back until then.
    """

    def __init__(self, tags: tuple[str, str]) -> None:
        self._tags = tags
        self._held, self._lead = "", ""
        self._state = "begin"  # begin, thought, answer
        self._begun = False  # has the thought, or the answer, a first word?

    def push(self, text: str) -> tuple[str, str]:
        """Return what is certain by now: reasoning, and answer behind it."""
        begin, end = self._tags
        self._held += text
        if self._state == "begin":
            stripped = self._held.lstrip()
            if stripped.startswith(begin):
                self._lead = self._held[: len(self._held) - len(stripped)]
                self._held, self._state = stripped[len(begin) :], "thought"
            elif end in self._held:
                return self._closed_at_last()
        if self._state == "thought":
            at = self._held.find(end)
            if at < 0:
                return self._thought(), ""
            thought = self._held[:at] if self._begun else self._held[:at].lstrip()
            self._held, self._state, self._begun = self._held[at + len(end) :], "answer", False
            return thought.rstrip(), self._lead + self._answer()
        return ("", self._answer()) if self._state == "answer" else ("", "")

    def end(self, finish_reason: str, told: bool = False) -> tuple[str, str]:
        """Return what was held back.

        Args:
            told: whether reasoning came beside the text, too.
        """
        if self._state == "thought":
            return (self._held if self._begun else self._held.lstrip()).rstrip(), ""
        if self._state == "answer" or not self._held:
            return "", ""
        whole = GeneratedSample(self._held, finish_reason, None, reasoning="told" if told else None)
        apart = told_apart(whole, self._tags)
        if apart is whole:
            return "", whole.text
        thought = apart.reasoning or ""
        return thought.removeprefix("told").lstrip() if told else thought, apart.text

    def _closed_at_last(self) -> tuple[str, str]:
        end = self._tags[1]
        apart = told_apart(GeneratedSample(self._held, "stop", None), self._tags)
        behind = self._held[self._held.find(end) + len(end) :]
        self._held, self._state, self._begun = "", "answer", bool(behind.strip())
        return apart.reasoning or "", apart.text

    def _thought(self) -> str:
        """Return what of a thought is certain: not what may be a tag's beginning, nor white space that may be its end."""
        if not self._begun:
            self._held = self._held.lstrip()
        certain = self._held[: len(self._held) - overlap(self._held, self._tags[1])].rstrip()
        self._held = self._held[len(certain) :]
        self._begun = self._begun or bool(certain)
        return certain

    def _answer(self) -> str:
        text = self._held if self._begun else self._held.lstrip()
        self._held, self._begun = "", self._begun or bool(text)
        return text


def overlap(text: str, word: str) -> int:
    """Return how many characters at the end of a text may be the beginning of a word."""
    for size in range(min(len(text), len(word) - 1), 0, -1):
        if text.endswith(word[:size]):
            return size
    return 0
