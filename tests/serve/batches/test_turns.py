"""Turns: tenants one after the other, of each its batches, and no more rows than there is room for."""

from __future__ import annotations

import threading

from raygen.serve.batches.turns import Turns


class Line:
    """Threads that wait for their turns, and the order in which they got them."""

    def __init__(self, room: int) -> None:
        self.turns = Turns(lambda: room)
        self.order: list[str] = []
        self.tickets = {}
        self._noted = threading.Condition()

    def wait(self, tenant: str, batch: str, rows: int = 4, alone: bool = False) -> None:
        before = self._waiting()

        def take() -> None:
            ticket = self.turns.take(tenant, batch, rows, lambda: False, alone)
            with self._noted:
                self.order.append(f"{tenant}/{batch}")
                self.tickets[f"{tenant}/{batch}", len(self.order)] = ticket
                self._noted.notify_all()

        threading.Thread(target=take, daemon=True).start()
        while self._waiting() == before and not self.order:
            pass

    def _waiting(self) -> int:
        return sum(len(queue) for batches in list(self.turns._waiting.values()) for queue in batches.values())

    def got(self, count: int) -> list[str]:
        with self._noted:
            assert self._noted.wait_for(lambda: len(self.order) >= count, 10)
            return self.order[:count]


def test_tenants_take_turns_and_of_each_its_batches():
    line = Line(room=4)
    first = line.turns.take("z", "z", 4, lambda: False)
    for tenant, batch in (("a", "1"), ("a", "1"), ("a", "2"), ("b", "3")):
        line.wait(tenant, batch)
    line.turns.give(first)
    for count in range(1, 5):
        line.got(count)
        line.turns.give(next(t for (name, n), t in line.tickets.items() if n == count))
    assert line.order == ["a/1", "b/3", "a/2", "a/1"]


def test_who_asks_alone_waits_until_nobody_else_is_at_work_and_keeps_others_out():
    turns = Turns(lambda: 100)
    first = turns.take("a", "1", 4, lambda: False)
    assert turns.take("a", "1", 1, lambda: True, alone=True) is None
    turns.give(first)
    alone = turns.take("a", "1", 1, lambda: False, alone=True)
    assert turns.take("b", "2", 1, lambda: True) is None
    turns.give(alone)
    assert turns.take("b", "2", 1, lambda: True) is not None


def test_a_chunk_larger_than_the_room_goes_when_nothing_else_does():
    turns = Turns(lambda: 2)
    assert turns.take("a", "1", 50, lambda: False) is not None
