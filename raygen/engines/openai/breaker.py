"""Breaker: does an endpoint answer anybody? Plain Python, driven by the caller's clock.

A fault is its row's while others are answered, and the endpoint's while nobody is. A probe tells them apart: a small request
of the engine's own, so that no row pays for it, and none that crashes its server is sent once more to find out.

    open    Requests go. `silent_since` says since when there were only faults and refusals; an answer forgets it.
    held    No request goes but the probe: at once, then after 1, 2, 4 ... 30 s.
    over    The run ends as a whole; nothing failed.

    open -> held    FAULTS faults without an answer between; or a denial (401, 403, 404 ...) before anything has worked.
    held -> open    The probe is answered, or refused with 429: somebody is there. Or, before any probe was in vain, a request
                    that was still under way is answered.
    open, held -> over
                    Silent for `limit_s`. Where that is a few rows' 429, only if the probe is refused, too: a request that is too
                    large for its quota is refused for ever. Or the probe is denied: at once if nothing has ever worked, else
                    after DENIED_S of it, since gateways deny for a moment while what stands behind them starts.

A request that was denied, or has no retries left, asks for a verdict (`doubt`): if no request that was sent later is answered
within PROOF_S, the probe decides, and nothing is held meanwhile unless it fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

FAULTS = 4  # without an answer between them: nobody is answered
FIRST_PROBE_S, LONGEST_PROBE_S = 1.0, 30.0  # between probes
PROOF_S = 2.0
DENIED_S = 60.0
SHOWN_S = 5.0  # refusals for a shorter time are an endpoint's daily life


class Why(IntEnum):
    """Why there was no answer. Numbers from 100 on are HTTP statuses."""

    UNKNOWN = 0
    REFUSED = 1
    NAME = 2
    TLS = 3
    UNREACHED = 4
    TIMEOUT = 5
    BROKEN = 6
    NONSENSE = 7


class Probed(Enum):
    """What came of a probe."""

    ANSWERED = "answered"
    REFUSED = "refused"
    DENIED = "denied"
    FAILED = "failed"


class Due(Enum):
    PROBE = "probe"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Fault:
    why: int  # Why, or an HTTP status
    message: str
    asked_s: float | None = None  # the silence that a refusal asks for

    @property
    def heard(self) -> bool:
        """Does it show that something like an endpoint is there? A wrong port, host or page shows none."""
        return self.why >= 400 or self.why == Why.TIMEOUT


class Breaker:
    """Tells the faults of single rows from those of an endpoint that answers nobody.

    Args:
        start_patience_s: how long an endpoint may be missing, when nothing was ever heard of it.
        max_refused_s: how long it may answer nobody.
    """

    def __init__(self, *, start_patience_s: float, max_refused_s: float) -> None:
        self.worked = False  # samples have come back
        self.others_worked = False  # to another engine of this run: this is no wrong address
        self.answers = 0  # to rows and to probes
        self.held = False
        self.vain = 0  # probes that were not answered, in a row
        self.last: Fault | None = None  # of this silence
        self.silent_since: float | None = None
        self.probe_at: float | None = None
        self._start_patience_s = start_patience_s
        self._max_refused_s = max_refused_s
        self._heard = False
        self._first_sent: float | None = None
        self._faults = 0  # since the last answer
        self._probing = False
        self._doubted = False
        self._denied_since: float | None = None
        self._over_at: float | None = None  # denied for good
        self._refusing = False  # the last fault of this silence was a refusal
        self._last_try = False  # refusals have lasted long enough, and one more probe is to confirm it

    @property
    def limit_s(self) -> float:
        """How long a silence may last."""
        known = self._heard or self.worked or self.others_worked
        return self._max_refused_s if known else self._start_patience_s

    @property
    def deadline(self) -> float | None:
        """When the endpoint is given up; None while it answers."""
        return None if self.silent_since is None else self.silent_since + self.limit_s

    @property
    def every_s(self) -> float:
        """Between the last probe and the next."""
        return min(LONGEST_PROBE_S, FIRST_PROBE_S * 2.0 ** min(max(self.vain - 1, 0), 30))

    def shown(self, now: float) -> bool:
        """Is the silence worth telling people?"""
        return self.silent_since is not None and (self.vain > 0 or now - self.silent_since >= SHOWN_S)

    @property
    def next_at(self) -> float | None:
        """When to ask `due` again; None: not before something happens."""
        if self._probing:
            return None
        if self._over_at is not None:
            return self._over_at
        times = [at for at in (self.probe_at, self.deadline) if at is not None]
        return min(times, default=None)

    def due(self, now: float, rows: int) -> Due | None:
        """Return what is to be done now.

        Args:
            rows: how many are waiting or under way.
        """
        if self._probing:
            return None
        if self._over_at is not None:
            return Due.OVER
        if self.deadline is not None and now >= self.deadline:
            if not self._refusing or self._last_try or rows > FAULTS:
                return Due.OVER
            self._last_try = True
            self.probe_at = now
        if self.probe_at is not None and now >= self.probe_at:
            self.probe_at = None
            self._probing = True
            return Due.PROBE
        return None

    def sent(self, now: float) -> None:
        """Note that a request goes out."""
        if self._first_sent is None:
            self._first_sent = now

    def answered(self, now: float, *, samples: bool) -> None:
        """Note that the endpoint worked on a request.

        Args:
            samples: it answered with some; else it found fault with the request.
        """
        self.answers += 1
        self.worked |= samples
        self._heard = True
        self.silent_since = self.last = self._denied_since = None
        self._faults = 0
        self._last_try = False
        if not self.held:
            self.vain = 0
            if self.probe_at is not None:  # those that were sent after the doubt may well be answered, too
                self.probe_at = now + PROOF_S
        elif not self.vain:
            self._open(now)

    def failed(self, now: float, fault: Fault) -> None:
        """Note a request that came to nothing: no connection, no answer, a server's error."""
        self._note(now, fault, refusing=False)
        self._faults += 1
        if self._faults >= FAULTS and not self.held:
            self._hold(now)

    def refused(self, now: float, fault: Fault) -> None:
        """Note that the endpoint is there, and wants no request now."""
        self._note(now, fault, refusing=True)

    def denied(self, now: float) -> None:
        """Note that the endpoint wants no such request; perhaps none at all."""
        self._heard = True
        if not self.worked and not self.held:
            self._hold(now)

    def doubt(self, now: float) -> None:
        """Somebody has to know whether others are answered."""
        self._doubted = True
        if self.probe_at is None and not self._probing:
            self.probe_at = now + (PROOF_S if self.worked and self.silent_since is None else 0.0)

    def proven(self) -> None:
        """Nobody has to know any more."""
        self._doubted = False
        if not self.held:
            self.probe_at = None

    def probed(self, now: float, result: Probed, fault: Fault | None = None) -> None:
        """Take in what the probe found. `fault`: unless it was answered."""
        self._probing = False
        if result is Probed.ANSWERED:
            self.answered(now, samples=True)
            self._doubted = False
            self._open(now)
            return
        assert fault is not None
        self.vain += 1
        self._note(now, fault, refusing=result is Probed.REFUSED)
        if result is Probed.DENIED:
            self._denied_since = now if self._denied_since is None else self._denied_since
            if not self.worked or now - self._denied_since >= DENIED_S:
                self._over_at = now
        else:
            self._denied_since = None
        self.held = result is not Probed.REFUSED
        if not self.held:
            self._faults = 0
        if self.held or self._doubted:
            self.probe_at = now + self.every_s

    def _note(self, now: float, fault: Fault, *, refusing: bool) -> None:
        self._heard |= fault.heard
        self._refusing = refusing
        self.last = fault
        if self.silent_since is None:
            never = not self._heard and not self.worked and self._first_sent is not None
            self.silent_since = self._first_sent if never else now

    def _hold(self, now: float) -> None:
        self.held = True
        self.probe_at = now if self.probe_at is None else min(self.probe_at, now)

    def _open(self, now: float) -> None:
        self.held = False
        self.vain = 0
        self._faults = 0
        # An answer to what was sent before somebody doubted is no verdict yet.
        self.probe_at = now + PROOF_S if self._doubted else None
