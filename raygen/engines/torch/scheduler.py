"""Scheduler: which samples get a token in the next step, which prompts are computed, who waits. Plain Python.

A step holds a token of every running sample, and up to `prompt_tokens` tokens of prompts: long prompts come in
pieces, so that running samples never wait for more than that. Samples are admitted by what they will probably
need; should memory still run out, the youngest gives its slot back and begins anew later. Its tokens so far are
kept and fed in again one by one, as they were made: their keys and values are then the same to the last bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from raygen.engines.torch.facts import PIECE
from raygen.engines.torch.memory.arena import Memory
from raygen.engines.torch.memory.prefixes import BLOCK, Node, Prefixes
from raygen.engines.torch.sample import Sample

PATIENCE = 64  # a sample that was passed over so often goes first
FIRST_GUESS = 128  # output tokens of a sample, before any has ended


@dataclass(slots=True)
class Piece:
    """Positions `start` to `stop` of a sample's prompt."""

    sample: Sample
    start: int
    stop: int


@dataclass(slots=True)
class Step:
    """What the next pass computes. A sample's place is settled before: slots do not move within a step."""

    decode: list[Sample] = field(default_factory=list)  # by place
    pieces: list[Piece] = field(default_factory=list)
    loads: list[tuple[Sample, list[Node]]] = field(
        default_factory=list
    )  # blocks to copy into a slot's beginning

    def __bool__(self) -> bool:
        return bool(self.decode or self.pieces)


class Scheduler:
    """Queues and slots.

    Args:
        memory: hands out slots. prefixes: what may be reused.
        rows: samples that hold a slot at once.
        prompt_tokens: computed in a step at most; PIECE or more.
    """

    def __init__(self, memory: Memory, prefixes: Prefixes, rows: int, prompt_tokens: int) -> None:
        self._memory = memory
        self._prefixes = prefixes
        self._rows = rows
        self._prompt_tokens = prompt_tokens
        self._waiting: deque[Sample] = deque()
        self._running: dict[Sample, None] = {}  # in the order of admission
        self._typical: float | None = None  # output tokens of those that ended, lately
        self.preemptions = 0
        self.reused_tokens = 0  # of prompts, copied instead of computed
        self.computed_tokens = 0  # of prompts

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, samples: Sequence[Sample]) -> None:
        self._waiting.extend(samples)

    def next_step(self) -> Step:
        """Decide what to compute. Empty when there is nothing to do."""
        self._release()
        step = Step()
        for sample in list(self._running):
            if (
                sample.place is not None and not sample.prefilling
            ):  # it may have been preempted for an older one
                self._grow(sample)
        left = self._prompt_tokens
        for sample in self._running:
            if sample.leader is None and sample.prefilling and left > 0:
                left -= self._cut(sample, step, left)
        self._admit(step, left)
        step.decode = [
            sample for members in self._memory.members for sample in members if not sample.prefilling
        ]
        return step

    def computed(self, step: Step) -> list[tuple[Sample, Sample]]:
        """Take in what a pass computed; return (leader, follower) pairs: the slots to copy whole prompts between."""
        for sample in step.decode:
            sample.computed += 1
        leaders = set()
        for piece in step.pieces:
            piece.sample.computed = piece.stop
            self.computed_tokens += piece.stop - piece.start
            if not piece.sample.prefilling:
                leaders.add(piece.sample)
        pairs = [(s.leader, s) for s in self._running if s.leader in leaders and s.leader is not None]
        for leader, follower in pairs:
            follower.leader = None
            follower.computed = len(leader.prompt)
            self.reused_tokens += len(leader.prompt)
        return pairs

    def complete(self, step: Step) -> list[tuple[Sample, Node]]:
        """Prefix blocks that the pass completed, to be stored and published."""
        found = []
        for piece in step.pieces:
            sample = piece.sample
            if sample.error is None:
                found += [(sample, node) for node in sample.nodes if node.start + BLOCK <= sample.computed]
                sample.nodes = [node for node in sample.nodes if node.start + BLOCK > sample.computed]
        return found

    def _release(self) -> None:
        """Slots of those that are done."""
        for sample in [s for s in self._running if s.done]:
            if sample.finish_reason is not None:
                length = len(sample.tokens)
                self._typical = length if self._typical is None else 0.98 * self._typical + 0.02 * length
            self._leave(sample)
        while self._waiting and self._waiting[0].done:
            self._waiting.popleft()

    def _leave(self, sample: Sample) -> None:
        del self._running[sample]
        self._memory.remove(sample)
        self._prefixes.abandon(sample.nodes)
        sample.nodes, sample.computed, sample.leader = [], 0, None
        orphans = [each for each in self._running if each.leader is sample]
        for follower in orphans:
            self._leave(follower)
        self._waiting.extendleft(reversed([each for each in orphans if not each.done]))

    def _grow(self, sample: Sample) -> None:
        """Make room for the next token; the youngest leave until there is."""
        while sample.place is not None and not self._memory.grow(sample, sample.computed + 1):
            youngest = next(reversed(self._running))
            self._leave(youngest)
            self._waiting.appendleft(youngest)
            self.preemptions += 1

    def _cut(self, sample: Sample, step: Step, left: int) -> int:
        """Put a sample's next piece into the step, if it fits what is left; return its tokens."""
        start = sample.computed
        stop = min(len(sample.prompt), (start // PIECE + 1) * PIECE)
        if stop - start > left:
            return 0
        step.pieces.append(Piece(sample, start, stop))
        return stop - start

    def _admit(self, step: Step, left: int) -> None:
        """Give slots to those who wait: first whose prompts begin with what is kept, else in the order of arrival."""
        room = self._rows - len(self._running)
        if room <= 0 or left <= 0:
            return
        expected = sum(self._memory.cost(self._expected(sample)) for sample in self._running)
        leaders = {(id(s.prompt), s.adapter): s for s in self._running if s.prefilling and s.leader is None}
        window = self._window(4 * room + 32)
        admitted: set[Sample] = set()
        for sample in sorted(window, key=self._urgency):
            if len(admitted) >= room or left <= 0:
                break
            leader = leaders.get((id(sample.prompt), sample.adapter))
            found, busy = ([], False) if leader else self._prefixes.find(sample.prompt, sample.adapter)
            if busy:  # somebody computes a block that this one can use: in the next step it is there
                continue
            part, more = (None, 0) if leader else self._prefixes.partial(sample.prompt, sample.adapter, found)
            start = len(found) * BLOCK + more
            piece = 0 if leader else min(len(sample.prompt), (start // PIECE + 1) * PIECE) - start
            cost = self._memory.cost(self._expected(sample))
            if piece > left or (self._running and expected + cost > self._memory.positions):
                break
            if not self._memory.add(sample, self._expected(sample)) and not self._memory.add(
                sample, len(sample.prompt) + 1
            ):
                break
            expected += cost
            self._running[sample] = None
            admitted.add(sample)
            sample.leader = leader
            if leader is None:
                leaders[id(sample.prompt), sample.adapter] = sample
                self._prefixes.use(found)
                sample.nodes = self._prefixes.claim(sample.prompt, sample.adapter, found)
                sample.computed = start
                self.reused_tokens += start
                if start:
                    # Of the last block the first tokens only: the others are computed before anything looks at them.
                    step.loads.append((sample, found if part is None else [*found, part]))
                left -= self._cut(sample, step, left)
        last = max((i for i, sample in enumerate(window) if sample in admitted), default=0)
        for sample in window[:last]:
            sample.passed += sample not in admitted
        self._waiting.extendleft(sample for sample in reversed(window) if sample not in admitted)

    def _window(self, size: int) -> list[Sample]:
        window: list[Sample] = []
        while self._waiting and len(window) < size:
            sample = self._waiting.popleft()
            if not sample.done:
                window.append(sample)
        return window

    def _urgency(self, sample: Sample) -> int:
        """Lower goes first. Sorting is stable: equals stay in the order of arrival."""
        if sample.passed >= PATIENCE or sample.tokens:
            return -(2**31)
        return -len(self._prefixes.find(sample.prompt, sample.adapter)[0])

    def _expected(self, sample: Sample) -> int:
        """Positions that a sample will probably need."""
        guess = FIRST_GUESS if self._typical is None else int(1.25 * self._typical) + 1
        return min(sample.most, len(sample.prompt) + max(guess, len(sample.tokens) + 1))
