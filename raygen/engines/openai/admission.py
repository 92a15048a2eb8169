"""Admission: how many requests an endpoint gets at once. Plain Python, driven by the caller's clock.

The level doubles each round-trip at first, then grows by a fixed step. Refusals cut it, at most once a
round-trip. What an endpoint took while it refused the rest is remembered as its ceiling; only rare, small
probes exceed it.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from raygen.engines.openai.backoff import MAX_RETRY_AFTER_S, exponential_s

START = 64  # a first burst that a hosted endpoint takes
DEEPEST_CUT, LIGHTEST_CUT = 0.5, 0.9  # what one signal of overload leaves of the level
GROWTH_STEPS = 32  # additive growth crosses the whole bound in so many round-trips
PROBE_FRACTION = 16  # a first probe goes above the ceiling by one part in so many
PROBE_WAIT_S, MAX_PROBE_WAIT_S = 20.0, 600.0


class Admission:
    """Decides when a request may be sent. Every request sent is answered for once: served, refused or failed (else KeyError).

    Args:
        bound: requests in flight that are never exceeded.
        start: requests in flight at first, at most `bound`.
        draw: a random number in [0, 1): spreads the pauses of engines that share an endpoint.
    """

    def __init__(self, bound: int, *, start: int = START, draw: Callable[[], float] = random.random) -> None:
        self.bound = bound
        self._under_way: set[int] = set()  # tickets
        self.paused_until = float("-inf")
        self._draw = draw
        self._level = float(min(start, bound))
        self._threshold = float(bound)  # below it the level doubles each round-trip, above it grows by steps
        self._ceiling = bound  # equal to the bound: none is known
        self._next_ticket = 0
        # The signal of overload: refusals of tickets older than `_signal_ticket` belong to the last one.
        self._signal_ticket = 0
        self._signal_level = 0  # in flight when it began
        self._signal_refusals = 0
        self._signals_in_a_row = 0
        self._known_ceiling = bound  # as it was before the signal
        # The probe above the ceiling.
        self._probe_ticket: int | None = None  # the first ticket sent under it; None: no probe under way
        self._probe_step = 0
        self._probes_passed = 0
        self._probe_wait_s = PROBE_WAIT_S
        self._probe_at = float("inf")

    @property
    def in_flight(self) -> int:
        return len(self._under_way)

    @property
    def limit(self) -> int:
        """How many requests may be in flight now (a pause aside)."""
        return int(self._level)

    @property
    def ceiling(self) -> int | None:
        """The most that the endpoint was seen to take; None while it never refused."""
        return self._ceiling if self._ceiling < self.bound else None

    def admit(self, now: float) -> int | None:
        """Return the ticket of a request that may be sent at the monotonic time `now`, or None: not yet."""
        if self.in_flight >= int(self._level) or now < self.paused_until:
            return None
        self._under_way.add(self._next_ticket)
        self._next_ticket += 1
        return self._next_ticket - 1

    def is_under_way(self, ticket: int) -> bool:
        """Has nobody said yet how this request ended?"""
        return ticket in self._under_way

    @property
    def next_ticket(self) -> int:
        """The ticket of the next request to be sent: who has it, or a later one, was sent after now."""
        return self._next_ticket

    def restart(self) -> None:
        """Send two requests, then three, five ...: the endpoint was away.

        A request that takes its server down with it would else take all the others with it each time; so it has fewer beside
        it each time, and they are other ones. Two, so that one whose connection hangs holds nobody up until it times out.
        """
        self._level, self._threshold = min(2.0, float(self._ceiling)), float(self._ceiling)

    def failed(self, ticket: int) -> None:
        """Note a request that ended in a way that says nothing about load: an error, a time-out, a cancellation."""
        self._under_way.remove(ticket)

    def served(self, ticket: int, now: float) -> None:
        """Note that the endpoint worked on a request and answered it."""
        used = 2 * self.in_flight >= self._level  # a level that nobody uses is not proven by a success
        self._under_way.remove(ticket)
        if ticket < self._signal_ticket:
            return  # sent before the last cut: no news
        self._signals_in_a_row = 0
        if not used:
            return
        if self._level < self._ceiling:
            doubling = self._level < self._threshold
            step = 1.0 if doubling else max(1.0, self.bound / GROWTH_STEPS) / self._level
            self._level = min(self._level + step, float(self._ceiling))
        elif self._ceiling < self.bound:
            self._consider_probe(ticket, now)

    def refused(self, ticket: int, now: float, retry_after_s: float | None) -> None:
        """Note that the endpoint is overloaded, and asks for `retry_after_s` of silence; None: it does not say."""
        new_signal = ticket >= self._signal_ticket
        if new_signal:
            self._begin_signal(now)
        self._signal_refusals += 1
        self._under_way.remove(ticket)
        taken = self._signal_level - self._signal_refusals
        deepest = self._signal_level * DEEPEST_CUT
        self._level = max(1.0, deepest, min(float(taken), self._signal_level * LIGHTEST_CUT))
        # If it took at least half of them, that many fit; if not, the burst says only "much less".
        self._ceiling = max(1, taken) if taken >= deepest else self._known_ceiling
        if self._signals_in_a_row == 1:  # a longer outage must not lower what to come back to
            self._threshold = self._level
        if retry_after_s:
            self._pause(now, min(retry_after_s, MAX_RETRY_AFTER_S) * (1 + 0.05 * self._draw()))
        elif new_signal:
            self._pause(now, exponential_s(self._signals_in_a_row) * (0.5 + 0.5 * self._draw()))

    def _pause(self, now: float, seconds: float) -> None:
        self.paused_until = max(self.paused_until, now + seconds)

    def _begin_signal(self, now: float) -> None:
        self._signal_ticket = self._next_ticket
        self._signal_level = self.in_flight
        self._signal_refusals = 0
        self._signals_in_a_row += 1
        self._known_ceiling = self._ceiling
        if self._probe_ticket is not None:
            in_vain = self._probes_passed == 0
            self._probe_wait_s = min(2 * self._probe_wait_s, MAX_PROBE_WAIT_S) if in_vain else PROBE_WAIT_S
        else:
            self._probe_wait_s = PROBE_WAIT_S
        self._probe_ticket = None
        self._probe_at = now + self._probe_wait_s

    def _consider_probe(self, ticket: int, now: float) -> None:
        if self._probe_ticket is None:
            if now < self._probe_at:
                return
            self._probes_passed = 0
            step = max(1, self._ceiling // PROBE_FRACTION)
        elif (
            ticket >= self._probe_ticket + self._ceiling
        ):  # a whole round-trip at the higher level was served
            self._probes_passed += 1
            step = 2 * self._probe_step
        else:
            return
        self._probe_step = min(step, self.bound - self._ceiling)
        self._ceiling += self._probe_step
        self._level = float(self._ceiling)
        self._probe_ticket = self._next_ticket if self._ceiling < self.bound else None
