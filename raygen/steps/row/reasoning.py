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
