"""Scheduler: which samples get a token in the next step, which prompts are computed, who waits. Plain Python.

A step holds a token of every running sample, and up to `prompt_tokens` tokens of prompts: long prompts come in
pieces, so that running samples never wait for more than that. Samples are admitted by what they will probably
need; should memory still run out, the youngest gives its slot back and begins anew later. Its tokens so far are
kept and fed in again one by one, as they were made: their keys and values are then the same to the last bit.

Samples that somebody waits for go before those of batches: they get slots first, if need be those of the youngest batch
samples; and batch samples pause in steps that compute their prompts. One batch sample always keeps its slot.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from raygen.engines.requests import BATCH, INTERACTIVE
from raygen.engines.torch.facts import PIECE
from raygen.engines.torch.memory.arena import Memory
from raygen.engines.torch.memory.prefixes import BLOCK, Node, Prefixes
from raygen.engines.torch.sample import Sample
from raygen.engines.torch.step import Piece, Step

PATIENCE = 64  # a sample that was passed over so often goes first
FIRST_GUESS = 128  # output tokens of a sample, before any has ended
FLOOR = 1  # batch samples that keep their slots, however many people wait
MOST_PAUSES = 8  # steps in a row without batch samples
LULL_S = 60.0  # after the last sample that somebody waited for, batches take all slots and long steps again


class Scheduler:
    """Queues and slots.

    Args:
        memory: hands out slots. prefixes: what may be reused.
        rows: samples that hold a slot at once.
        prompt_tokens: computed in a step at most; PIECE or more.
        clock: seconds; decides how long slots are kept free for people, and no text.

    Attributes:
        batch_share: the part of the slots that batches take while people ask.
    """

    def __init__(
        self,
        memory: Memory,
        prefixes: Prefixes,
        rows: int,
        prompt_tokens: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._memory = memory
        self._prefixes = prefixes
        self._rows = rows
        self._prompt_tokens = prompt_tokens
        self._clock = clock
        self.batch_share = 1.0
        self._waiting: deque[Sample] = deque()  # those that somebody waits for
        self._behind: deque[Sample] = deque()  # those of batches
        self._running: dict[Sample, None] = {}  # in the order of admission
        self._asked_s: float | None = None  # when somebody waited last
        self._pauses = 0
        self._typical: float | None = None  # output tokens of those that ended, lately
        self.preemptions = 0
        self.reused_tokens = 0  # of prompts, copied instead of computed
        self.computed_tokens = 0  # of prompts

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting) + len(self._behind)

    @property
    def batch(self) -> int:
        """How many of the running samples are a batch's."""
        return sum(sample.priority == BATCH for sample in self._running)

    def submit(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self._queue_of(sample).append(sample)

    def next_step(self) -> Step:
        """Decide what to compute. Empty when there is nothing to do."""
        self._release()
        step = Step()
        for sample in list(self._running):
            if (
                sample.place is not None and not sample.prefilling
            ):  # it may have been preempted for an older one
                self._grow(sample)
        left = self._continue(INTERACTIVE, step, self._prompt_tokens)
        left = self._admit_people(step, left)
        left = self._continue(BATCH, step, self._left_for_batches(step, left))
        self._admit_batches(step, left)
        step.decode = [
            sample for members in self._memory.members for sample in members if not sample.prefilling
        ]
        self._pause(step)
        return step

    def _continue(self, priority: int, step: Step, left: int) -> int:
        """Go on with prompts that are begun; return how many tokens of prompts the step may still take."""
        for sample in self._running:
            if sample.priority == priority and sample.leader is None and sample.prefilling and left > 0:
                left -= self._cut(sample, step, left)
        return left

    def _pause(self, step: Step) -> None:
        """Leave batch samples out of a step that computes the prompt of somebody who waits: it is over sooner."""
        mixed = any(sample.priority == BATCH for sample in step.decode)
        if not mixed or not _has_prompt_of_people(step) or self._pauses >= MOST_PAUSES:
            self._pauses = 0
            return
        self._pauses += 1
        step.decode = [sample for sample in step.decode if sample.priority == INTERACTIVE]

    def _left_for_batches(self, step: Step, left: int) -> int:
        """Return how many tokens of batches' prompts a step may still take: few while people ask, none beside their own."""
        if not self._attentive:
            return left
        return 0 if _has_prompt_of_people(step) else min(left, PIECE)

    @property
    def _attentive(self) -> bool:
        """Whether people ask, or did lately."""
        return self._asked_s is not None and self._clock() - self._asked_s < LULL_S

    def _queue_of(self, sample: Sample) -> deque[Sample]:
        return self._behind if sample.priority == BATCH else self._waiting

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
        """Take back the slots of those that are done, and the places of those that nobody waits for any more."""
        for sample in [s for s in self._running if s.done]:
            if sample.finish_reason is not None:
                length = len(sample.tokens)
                self._typical = length if self._typical is None else 0.98 * self._typical + 0.02 * length
            self._leave(sample)
        for queue in (self._waiting, self._behind):
            if any(sample.cancelled for sample in queue):
                left = [sample for sample in queue if not sample.cancelled]
                queue.clear()
                queue.extend(left)
        if self._waiting or self.batch < len(self._running):
            self._asked_s = self._clock()

    def _leave(self, sample: Sample) -> None:
        del self._running[sample]
        self._memory.remove(sample)
        self._prefixes.abandon(sample.nodes)
        sample.nodes, sample.computed, sample.leader = [], 0, None
        orphans = [each for each in self._running if each.leader is sample]
        for follower in orphans:
            self._leave(follower)
        for each in reversed(orphans):
            if not each.done:
                self._queue_of(each).appendleft(each)

    def _grow(self, sample: Sample) -> None:
        """Make room for the next token; the youngest leave until there is."""
        while sample.place is not None and not self._memory.grow(sample, sample.computed + 1):
            self._preempt(self._youngest_of_batches() or next(reversed(self._running)))

    def _preempt(self, sample: Sample) -> None:
        """Take a sample's slot; it comes first when there is one again."""
        self._leave(sample)
        self._queue_of(sample).appendleft(sample)
        self.preemptions += 1

    def _youngest_of_batches(self) -> Sample | None:
        return next((each for each in reversed(self._running) if each.priority == BATCH), None)

    def _cut(self, sample: Sample, step: Step, left: int) -> int:
        """Put a sample's next piece into the step, if it fits what is left; return its tokens."""
        start = sample.computed
        stop = min(len(sample.prompt), (start // PIECE + 1) * PIECE)
        if stop - start > left:
            return 0
        step.pieces.append(Piece(sample, start, stop))
        return stop - start

    def _admit_people(self, step: Step, left: int) -> int:
        """Give slots to those whom somebody waits for, if need be those of batches; return what is left of the step."""
        while self._waiting and left > 0:
            kept = FLOOR if self._behind and not self.batch else 0
            room = self._rows - len(self._running) - kept
            before = len(self._waiting)
            left, short = self._admit_from(self._waiting, step, room, left)
            if not short or len(self._waiting) < before:
                break
            youngest = self._youngest_of_batches()
            if youngest is None or self.batch <= FLOOR:
                break
            self._preempt(youngest)
        return left

    def _admit_batches(self, step: Step, left: int) -> None:
        """Give batches the slots that are left, but for some that are kept free while people ask."""
        batch, free = self.batch, self._rows - len(self._running)
        if self._waiting:
            free = min(free, FLOOR - batch)
        elif self._attentive:
            # One a step: the next person waits for the step that is under way, prompts and all.
            free = min(free, 1, max(FLOOR, int(self._rows * self.batch_share)) - batch)
        self._admit_from(self._behind, step, free, left)

    def _admit_from(self, queue: deque[Sample], step: Step, room: int, left: int) -> tuple[int, bool]:
        """Give at most `room` slots: first whose prompts begin with what is kept, else in the order of arrival.

        Returns:
            How many tokens of prompts the step may still take; and whether a slot or memory was lacking. Who waits for the
            next step, or for what another one computes, lacks neither.
        """
        if room <= 0 or left <= 0 or not queue:
            return left, room <= 0
        short = False
        expected = sum(self._memory.cost(self._expected(sample)) for sample in self._running)
        leaders = {(id(s.prompt), s.adapter): s for s in self._running if s.prefilling and s.leader is None}
        window = self._window(queue, 4 * room + 32)
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
            if piece > left:
                break
            short = bool(self._running) and expected + cost > self._memory.positions
            short = short or not (
                self._memory.add(sample, self._expected(sample))
                or self._memory.add(sample, len(sample.prompt) + 1)
            )
            if short:
                break
            expected += cost
            self._running[sample] = None
            admitted.add(sample)
            sample.leader = leader
            if sample.reused is None:
                sample.reused = start
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
        queue.extendleft(sample for sample in reversed(window) if sample not in admitted)
        return left, short

    def _window(self, queue: deque[Sample], size: int) -> list[Sample]:
        window: list[Sample] = []
        while queue and len(window) < size:
            sample = queue.popleft()
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


def _has_prompt_of_people(step: Step) -> bool:
    return any(piece.sample.priority == INTERACTIVE for piece in step.pieces)
