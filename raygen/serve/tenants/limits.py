"""Limits: what a tenant may use at once, in a minute and in a month. What is asked for is reserved before work, settled after."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from raygen.serve.config import Limits
from raygen.usage import ENCODED_TOKENS, OUTPUT_TOKENS, PROMPT_TOKENS, Usage
from raygen.wire.errors import ApiError, retry_after

MINUTE_S = 60.0


def tokens_in(usage: Usage) -> float:
    """Return all tokens of an amount."""
    return float(sum(usage.get(unit, 0) for unit in (PROMPT_TOKENS, OUTPUT_TOKENS, ENCODED_TOKENS)))


@dataclass(slots=True)
class Bucket:
    """So much a minute, refilled steadily; at most a minute's worth at once.

    Args:
        per_minute: what flows in.
    """

    per_minute: float
    level: float = field(init=False)
    seen_s: float | None = None

    def __post_init__(self) -> None:
        self.level = self.per_minute

    def fill(self, now_s: float) -> None:
        """Let in what has flowed since it was looked at last."""
        if self.seen_s is not None:
            self.level = min(self.per_minute, self.level + (now_s - self.seen_s) * self.per_minute / MINUTE_S)
        self.seen_s = now_s

    def wait_s(self, amount: float) -> float:
        """Return how long until so much is there; what is more than a whole minute's worth waits for a full bucket."""
        missing = min(amount, self.per_minute) - self.level
        return max(0.0, missing * MINUTE_S / self.per_minute)


@dataclass(slots=True)
class Account:
    """What one tenant has under way at this gateway."""

    requests: Bucket | None
    tokens: Bucket | None
    in_flight: int = 0


@dataclass(slots=True)
class Hold:
    """What a request may use: held until it is settled."""

    tenant: str
    tokens: float
    usage: Usage = field(default_factory=Usage)

    def settle(self, usage: Usage) -> None:
        """Say what was used so far; the last word counts."""
        self.usage = usage


class Limiter:
    """The limits of all accounts at one gateway, which has its part of them. Safe to share between threads.

    An account is a tenant, or a key with limits of its own (`tenant/key`).

    Args:
        copies: how many gateways share the limits.
        month_tokens: tokens that a tenant has used this month.
        clock: seconds.
    """

    def __init__(
        self,
        copies: int = 1,
        month_tokens: Callable[[str], float] = lambda tenant: 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._copies, self._month_tokens, self._clock = copies, month_tokens, clock
        self._accounts: dict[str, tuple[Limits, Account]] = {}
        self._held: dict[str, float] = defaultdict(float)  # tokens that each tenant's requests may still use
        self._lock = threading.Lock()

    def reserve(self, tenant: str, limits: Limits, most: Usage) -> Hold:
        """Hold what a request may use at most. Raises ApiError 429: `rate_limit_exceeded`, `insufficient_quota`."""
        tokens, owner = tokens_in(most), tenant.partition("/")[0]
        used = 0.0 if limits.monthly_tokens is None else self._month_tokens(owner)  # may read the store
        with self._lock:
            if limits.monthly_tokens is not None and used + self._held[owner] >= limits.monthly_tokens:
                raise _used_up(limits.monthly_tokens)
            account = self._account(tenant, limits)
            now = self._clock()
            if limits.in_flight is not None and account.in_flight >= self._part(limits.in_flight):
                raise self._refusal("requests at once", limits.in_flight, 1.0, account, limits)
            for bucket, amount, what, limit in (
                (account.requests, 1.0, "requests a minute", limits.rpm),
                (account.tokens, tokens, "tokens a minute", limits.tpm),
            ):
                if bucket is not None:
                    bucket.fill(now)
                    if (wait := bucket.wait_s(amount)) > 0:
                        raise self._refusal(what, limit or 0, wait, account, limits)
            if account.requests is not None:
                account.requests.level -= 1
            if account.tokens is not None:
                account.tokens.level -= tokens
            account.in_flight += 1
            self._held[owner] += tokens
        return Hold(tenant, tokens)

    def check_month(self, tenant: str, limits: Limits) -> None:
        """Refuse what would be begun after the month's tokens are used. Raises ApiError 429 `insufficient_quota`."""
        if limits.monthly_tokens is None:
            return
        used = self._month_tokens(tenant)
        with self._lock:
            if used + self._held[tenant] >= limits.monthly_tokens:
                raise _used_up(limits.monthly_tokens)

    def release(self, hold: Hold) -> None:
        """Give back what was held and not used."""
        with self._lock:
            self._held[hold.tenant.partition("/")[0]] -= hold.tokens
            _, account = self._accounts[hold.tenant]
            account.in_flight -= 1
            if account.tokens is not None:
                back = hold.tokens - tokens_in(hold.usage)
                account.tokens.level = min(account.tokens.per_minute, account.tokens.level + back)

    def headers(self, tenant: str) -> dict[str, str]:
        """Return what OpenAI tells of limits beside each answer."""
        with self._lock:
            found = self._accounts.get(tenant)
            return {} if found is None else self._told(found[1], found[0])

    def _told(self, account: Account, limits: Limits) -> dict[str, str]:
        told = {}
        for name, bucket, limit in (
            ("requests", account.requests, limits.rpm),
            ("tokens", account.tokens, limits.tpm),
        ):
            if bucket is not None:
                told[f"x-ratelimit-limit-{name}"] = str(limit)
                told[f"x-ratelimit-remaining-{name}"] = str(max(0, int(bucket.level * self._copies)))
                told[f"x-ratelimit-reset-{name}"] = f"{bucket.wait_s(bucket.per_minute):.3f}s"
        return told

    def _account(self, tenant: str, limits: Limits) -> Account:
        found = self._accounts.get(tenant)
        if found is not None and found[0] == limits:
            return found[1]
        account = Account(
            None if limits.rpm is None else Bucket(limits.rpm / self._copies),
            None if limits.tpm is None else Bucket(limits.tpm / self._copies),
            0 if found is None else found[1].in_flight,
        )
        self._accounts[tenant] = (limits, account)
        return account

    def _part(self, limit: int) -> int:
        return max(1, limit // self._copies)

    def _refusal(self, what: str, limit: int, wait_s: float, account: Account, limits: Limits) -> ApiError:
        shared = f" (shared by {self._copies} gateways)" if self._copies > 1 else ""
        headers = {**self._told(account, limits), **retry_after(wait_s)}
        message = f"the limit of {limit:,} {what}{shared} is reached; ask again in {min(wait_s, 60):.1f} s"
        return ApiError(429, "rate_limit_exceeded", message, headers=headers)


def _used_up(limit: int) -> ApiError:
    return ApiError(
        429,
        "insufficient_quota",
        f"the {limit:,} tokens of this month are used, or held by requests under way",
        headers={**retry_after(60), "x-should-retry": "false"},
    )
