"""Turns: whose chunk goes to a model next. Tenants take turns, and of each tenant its batches; rows in flight are bounded."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

LOOK_S = 0.2


@dataclass(eq=False)
class Ticket:
    rows: int
    alone: bool
    granted: threading.Event = field(default_factory=threading.Event)


class Turns:
    """The rows of batches that a model works on at once.

    Args:
        room: how many there may be, at this moment.
    """

    def __init__(self, room: Callable[[], int]) -> None:
        self._room = room
        self._used = 0
        self._alone = False
        self._waiting: OrderedDict[str, OrderedDict[str, deque[Ticket]]] = OrderedDict()
        self._lock = threading.Lock()

    def take(
        self, tenant: str, batch: str, rows: int, stopped: Callable[[], bool], alone: bool = False
    ) -> Ticket | None:
        """Wait for a turn; None once `stopped`. Give it back.

        Args:
            alone: no other rows may be under way with it.
        """
        ticket = Ticket(rows, alone)
        with self._lock:
            self._waiting.setdefault(tenant, OrderedDict()).setdefault(batch, deque()).append(ticket)
            self._grant()
        while not ticket.granted.wait(LOOK_S):
            with self._lock:
                if stopped() and not ticket.granted.is_set():
                    self._remove(tenant, batch, ticket)
                    self._grant()
                    return None
                self._grant()  # there may be more room than there was
        return ticket

    def give(self, ticket: Ticket) -> None:
        """Give a turn back."""
        with self._lock:
            self._used -= ticket.rows
            self._alone = False
            self._grant()

    def _grant(self) -> None:
        while self._waiting and not self._alone:
            tenant, batches = next(iter(self._waiting.items()))
            batch, tickets = next(iter(batches.items()))
            ticket = tickets[0]
            # Who is next waits until there is room: nobody smaller slips by for ever.
            if self._used and (ticket.alone or self._used + ticket.rows > self._room()):
                return
            self._remove(tenant, batch, ticket)
            if tenant in self._waiting:
                if batch in self._waiting[tenant]:
                    self._waiting[tenant].move_to_end(batch)
                self._waiting.move_to_end(tenant)
            self._used += ticket.rows
            self._alone = ticket.alone
            ticket.granted.set()

    def _remove(self, tenant: str, batch: str, ticket: Ticket) -> None:
        batches = self._waiting[tenant]
        batches[batch].remove(ticket)
        if not batches[batch]:
            del batches[batch]
        if not batches:
            del self._waiting[tenant]
