"""TextStream: the text of a sample in the making, as far as it is certain."""

from __future__ import annotations

from collections import deque

from raygen.engines.torch.stopping import StopRule

INCOMPLETE = "\ufffd"  # what tokens that end within a character decode to
WINDOW = 64  # tokens decoded again at most while no character is complete


class TextStream:
    """Turns a growing list of tokens into pieces of text whose sum is `rule.text(tokens)`.

    Holds back what may be the beginning of a character or of a stop string. Decodes only the last tokens.

    Attributes:
        certain: of how many tokens all text has been returned.
    """

    def __init__(self, rule: StopRule) -> None:
        self._rule = rule
        self.certain = 0
        self._ends: deque[tuple[int, int]] = deque()  # tokens decoded, and how many characters they are
        self._text = ""  # decoded so far
        self._sent = 0  # characters of it
        self._from = 0  # tokens decoded again, for what they do to those after them
        self._upto = 0  # tokens whose text is in `_text`

    def push(self, tokens: list[int], finished: bool) -> str:
        """Return the text that is newly certain. `finished`: no token will follow."""
        if finished:
            whole = self._rule.text(tokens)
            new, self._sent = whole[self._sent :], len(whole)
            self.certain = len(tokens)
            return new
        self._decode(tokens)
        certain = max(self._sent, len(self._text) - self._held())
        new, self._sent = self._text[self._sent : certain], certain
        while self._ends and self._ends[0][1] <= certain:
            self.certain = self._ends.popleft()[0]
        return new

    def _decode(self, tokens: list[int]) -> None:
        count = len(tokens)  # the list may grow meanwhile, on another thread
        known = self._rule.decode(tokens[self._from : self._upto])
        text = self._rule.decode(tokens[self._from : count])
        if text.endswith(INCOMPLETE) and count - self._upto < WINDOW:
            return
        self._text += text[len(known) :]
        self._from, self._upto = self._upto, count
        self._ends.append((count, len(self._text)))

    def _held(self) -> int:
        """Characters at the end that a stop string may begin with."""
        stops = self._rule.stop
        longest = min(max(map(len, stops), default=1) - 1, len(self._text))
        for size in range(longest, 0, -1):
            end = self._text[-size:]
            if any(len(stop) > size and stop.startswith(end) for stop in stops):
                return size
        return 0
