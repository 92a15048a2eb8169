"""Backoff: how long a row waits before it is asked again, and when it gives up. Plain Python, no I/O."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from email.utils import parsedate_to_datetime

BASE_S = 0.5
CAP_S = 60.0
MAX_RETRY_AFTER_S = 300.0  # an endpoint that asks for more is asked again after this long

PARDONS = 3


def retry_after_s(header: str | None, wall_time: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks for; not all of it is waited for (MAX_RETRY_AFTER_S).

    Args:
        header: seconds (a fraction is accepted) or an HTTP date; None and nonsense give None.
        wall_time: seconds since the epoch, to measure a date from.

    Source:
        RFC 9110, section 10.2.3.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - wall_time
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def exponential_s(failures: int) -> float:
    """Return the longest wait after so many failures in a row (1 or more), in seconds."""
    return min(CAP_S, BASE_S * 2.0 ** min(failures - 1, 30))


class RetryBudget:
    """How often one request may be asked again.

    Errors are counted. Refusals (the endpoint is busy, the request is fine) are bounded by time alone. Requests that did not
    reach the endpoint cost nothing.
    """

    def __init__(
        self, max_retries: int, max_refused_s: float, draw: Callable[[], float] = random.random
    ) -> None:
        self.max_retries = max_retries
        self.max_refused_s = max_refused_s
        self.failures = 0
        self._pardons = PARDONS
        self._refused_since: float | None = None
        self._outage: int | None = None
        self._draw = draw

    @property
    def half_spent(self) -> bool:
        return 2 * self.failures > self.max_retries

    def after_failure(self, asked_s: float | None, outage: int | None = None) -> float | None:
        """Count an error; return the seconds to wait (full jitter, no less than `asked_s`), or None: give up.

        Args:
            outage: a number that errors have in common which may be of one outage; they count once. None: it is of none.

        Source:
            Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        if outage is not None and outage == self._outage:
            return self.after_unsent()
        self._outage = outage
        self.failures += 1
        if self.failures > self.max_retries:
            return None
        return max(min(asked_s or 0.0, MAX_RETRY_AFTER_S), self._draw() * exponential_s(self.failures))

    def after_unsent(self) -> float:
        """Return the seconds to wait after a request that did not reach the endpoint."""
        return self._draw() * exponential_s(1)

    def after_refusal(self, now: float) -> bool:
        """Note a refusal at the monotonic time `now`, in seconds; return whether to ask again."""
        if self._refused_since is None:
            self._refused_since = now
        return now - self._refused_since < self.max_refused_s

    def pardon(self) -> bool:
        """Forget the last error, or all refusals: the endpoint answered nobody then. Returns whether to ask again.

        Not for ever: a request that takes its server down each time would always be pardoned.
        """
        self._pardons -= 1
        self.failures -= self.failures > 0
        self._outage = None
        self._refused_since = None
        return self._pardons >= 0
