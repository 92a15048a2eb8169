"""Gate: the asyncio side of admission. Requests wait here, in order, until the policy lets them go."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator

from raygen.engines.base import EngineStats
from raygen.engines.openai.admission import Admission
from raygen.errors import EngineConfigError


class Gate:
    """One line of waiting requests before one endpoint; those asked again go before fresh ones.

    A request may have to go alone: then the others wait until those under way have ended, and it has.

    Args:
        admission: decides who may go.
        stats: its gauges (`in_flight`, `waiting`, `limit`) are kept true.
    """

    def __init__(self, admission: Admission, stats: EngineStats) -> None:
        self.admission = admission
        self._stats = stats
        self._loop = asyncio.get_running_loop()
        self._fresh: deque[asyncio.Future[int]] = deque()
        self._again: deque[asyncio.Future[int]] = deque()
        self._alone: deque[asyncio.Future[int]] = deque()
        self._going_alone: int | None = None  # its ticket
        self._backing_off = 0
        self._timer: asyncio.TimerHandle | None = None
        self._held = False
        self._shut: str | None = None
        self._show()

    @property
    def rows(self) -> int:
        """How many requests are under way or wait."""
        return self._stats.in_flight + self._stats.waiting

    def hold(self, held: bool) -> None:
        """Let nobody in, or let them in again."""
        if held != self._held:
            self._held = held
            self._let_in()

    @contextlib.asynccontextmanager
    async def slot(self, again: bool = False, alone: bool = False) -> AsyncIterator[int]:
        """Wait for admission, and hold the slot at most for the length of a `with`, whatever happens there; yields its ticket.

        A slot that were never given back would be missing for good, and block all the others once the level is 1. So who
        leaves without having said how it went has failed. Raises EngineConfigError once the gate is shut.
        """
        ticket = await self.enter(again, alone)
        try:
            yield ticket
        finally:
            if self.admission.is_under_way(ticket):
                self.failed(ticket)

    async def enter(self, again: bool = False, alone: bool = False) -> int:
        """Wait for admission; return the ticket to hand back to `served`, `refused` or `failed`.

        Raises EngineConfigError once the gate is shut.
        """
        if self._shut is not None:
            raise EngineConfigError(self._shut)
        free = not (self._held or alone or self._alone or self._going_alone is not None)
        ticket = self.admission.admit(self._loop.time()) if free else None
        if ticket is not None:  # then nobody waits: whoever could go was let in when the slot became free
            self._show()
            return ticket
        line = self._alone if alone else self._again if again else self._fresh
        future: asyncio.Future[int] = self._loop.create_future()
        line.append(future)
        try:
            self._let_in()
            return await future
        except BaseException:
            if future.cancel() or future.cancelled():
                with contextlib.suppress(ValueError):  # the line may have dropped it already
                    line.remove(future)
                self._show()
            elif future.exception() is None:  # admitted and cancelled in the same turn of the loop
                self.failed(future.result())
            raise

    async def back_off(self, seconds: float) -> None:
        """Sleep before entering again."""
        with self.aside():
            await asyncio.sleep(seconds)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Count a request as waiting that stands in no line."""
        self._backing_off += 1
        self._show()
        try:
            yield
        finally:
            self._backing_off -= 1
            self._show()

    def served(self, ticket: int) -> None:
        self.admission.served(ticket, self._loop.time())
        self._ended(ticket)

    def refused(self, ticket: int, retry_after_s: float | None) -> None:
        self.admission.refused(ticket, self._loop.time(), retry_after_s)
        self._ended(ticket)

    def failed(self, ticket: int) -> None:
        self.admission.failed(ticket)
        self._ended(ticket)

    def _ended(self, ticket: int) -> None:
        if ticket == self._going_alone:
            self._going_alone = None
        self._let_in()

    def shut(self, message: str) -> None:
        """Give the endpoint up: everybody who waits or comes gets EngineConfigError(message)."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._shut = message
        for line in (self._alone, self._again, self._fresh):
            while line:
                future = line.popleft()
                if not future.done():
                    future.set_exception(EngineConfigError(message))
        self._show()

    def _let_in(self) -> None:
        if self._held or self._going_alone is not None:
            self._show()
            return
        now = self._loop.time()
        for line in (self._alone, self._again, self._fresh):
            while line:
                if line[0].cancelled():
                    line.popleft()
                    continue
                alone = line is self._alone
                ticket = None if alone and self.admission.in_flight else self.admission.admit(now)
                if ticket is None:
                    if self._timer is None and now < self.admission.paused_until:
                        self._timer = self._loop.call_at(self.admission.paused_until, self._pause_ends)
                    self._show()
                    return
                line.popleft().set_result(ticket)
                if alone:
                    self._going_alone = ticket
                    self._show()
                    return
        self._show()

    def _pause_ends(self) -> None:
        self._timer = None
        self._let_in()

    def _show(self) -> None:
        stats = self._stats
        stats.in_flight = self.admission.in_flight
        stats.waiting = len(self._fresh) + len(self._again) + len(self._alone) + self._backing_off
        stats.limit = self.admission.limit
