"""Circuit: the asyncio side of the breaker. Hears what came of each request, holds the gate, sends probes, ends the run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from raygen.engines.base import EngineStats
from raygen.engines.figures import endpoint_key
from raygen.engines.openai.breaker import SHOWN_S, Breaker, Due, Fault, Probed, Why
from raygen.engines.openai.chat_completions import Action, Answer, Trouble
from raygen.engines.openai.gate import Gate
from raygen.errors import EngineConfigError, told

PROBE_S = 60.0  # a probe's own time-out
FIGURES = ("silent", "since_s", "until_s", "why", "every_s", "asked_s")

Heard = Answer | Trouble


class Circuit:
    """Stands between an engine's requests and its gate.

    Args:
        breaker: decides.
        probe: sends a small request of its own, past the gate.
        words: what ends the run, as a message for people: after a denial or a silence, and since when (seconds since the
            epoch); None: an account that is spent.
        name: of the model, for the figures.
    """

    def __init__(
        self,
        breaker: Breaker,
        gate: Gate,
        stats: EngineStats,
        *,
        name: str,
        probe: Callable[[], Awaitable[Heard]],
        words: Callable[[Trouble, float | None], str],
    ) -> None:
        self.breaker = breaker
        self._gate = gate
        self._stats = stats
        self._name = name
        self._probe = probe
        self._words = words
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._probing: asyncio.Task[None] | None = None
        self._doubters: list[tuple[int, asyncio.Future[bool]]] = []
        self._trouble: Trouble | None = None  # the last one
        self._over: str | None = None
        self._shown = False

    def sent(self) -> None:
        """Note that a request goes out."""
        self.breaker.sent(self._loop.time())

    def heard(self, ticket: int, answer: Heard) -> None:
        """Take in what came of a request, and give its slot back. Raises EngineConfigError: an account that is spent."""
        now, breaker, gate = self._loop.time(), self.breaker, self._gate
        vain = breaker.vain
        if isinstance(answer, Answer) or answer.action is Action.ROW:
            breaker.answered(now, samples=isinstance(answer, Answer))
            self._prove(ticket, vain)
            self._follow()
            gate.served(ticket)
            return
        self._trouble = answer
        if answer.action is Action.ENGINE:
            self._end(self._words(answer, None))
            gate.failed(ticket)
            raise EngineConfigError(self._over)
        if answer.action is Action.DENIED:
            breaker.denied(now)
        elif answer.action is Action.REFUSED:
            breaker.refused(now, _fault(answer))
        else:
            breaker.failed(now, _fault(answer))
        self._follow()  # first: who is held must not get the slot
        if answer.overload:
            gate.refused(ticket, answer.asked_s)
        else:
            gate.failed(ticket)

    async def others_are_answered(self) -> bool:
        """Wait until it is known whether a request that has just failed for good is the only one.

        Returns:
            False: it was not, and the endpoint answers again now.

        Raises:
            EngineConfigError: the endpoint was given up.
        """
        if self._over is not None:
            raise EngineConfigError(self._over)
        mine: tuple[int, asyncio.Future[bool]]
        mine = (self._gate.admission.next_ticket, self._loop.create_future())
        self._doubters.append(mine)
        self.breaker.doubt(self._loop.time())
        self._follow()
        try:
            with self._gate.aside():
                return await mine[1]
        finally:
            with contextlib.suppress(ValueError):
                self._doubters.remove(mine)
            if not self._doubters:
                self.breaker.proven()
                self._follow()

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)

    def _prove(self, ticket: int, vain: int) -> None:
        """Take an answer to a request that was sent later as the proof."""
        for first, future in self._doubters:
            if first <= ticket and not future.done():
                future.set_result(not vain)

    def _follow(self) -> None:
        """Do what the breaker has decided, and be woken when it has something to do."""
        if self._over is not None:
            return
        self._gate.hold(self.breaker.held)
        self._show()
        since = self.breaker.silent_since
        told_at = None if since is None or self._shown else since + SHOWN_S
        at = min((at for at in (self.breaker.next_at, told_at) if at is not None), default=None)
        if self._timer is not None and self._timer.when() != at:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and at is not None:
            self._timer = self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._timer = None
        due = self.breaker.due(self._loop.time(), self._gate.rows)
        if due is Due.OVER:
            assert self._trouble is not None
            self._end(self._words(self._trouble, self._since()))
        elif due is Due.PROBE:
            self._probing = asyncio.create_task(self._send_probe())
        self._follow()

    async def _send_probe(self) -> None:
        try:
            answer = await asyncio.wait_for(self._probe(), PROBE_S)
        except TimeoutError:
            message = f"no answer in {PROBE_S:g} s to a small request"
            answer = Trouble(Action.RETRY, "timeout", message, why=Why.TIMEOUT)
        except Exception as error:  # noqa: BLE001 - without an end of this probe no other would ever be sent
            answer = Trouble(
                Action.RETRY,
                "endpoint_unavailable",
                f"a small request failed: {told(error)}",
                why=Why.NONSENSE,
            )
        now, vain = self._loop.time(), self.breaker.vain
        if isinstance(answer, Answer) or answer.action is Action.ROW:
            self.breaker.probed(now, Probed.ANSWERED)
            if vain:
                self._gate.admission.restart()
            for _, future in self._doubters:
                if not future.done():
                    future.set_result(not vain)
        else:
            self._trouble = answer
            if answer.action is Action.ENGINE:
                self._end(self._words(answer, None))
            self.breaker.probed(now, _RESULTS.get(answer.action, Probed.FAILED), _fault(answer))
        self._follow()

    def _end(self, message: str) -> None:
        """Nobody waits any more, and nobody comes."""
        self._over = message
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._gate.shut(message)
        for _, future in self._doubters:
            if not future.done():
                future.set_exception(EngineConfigError(message))

    def _since(self) -> float | None:
        """Since when there is silence, in seconds since the epoch."""
        since = self.breaker.silent_since
        return None if since is None else time.time() - (self._loop.time() - since)

    def _show(self) -> None:
        """Keep the figures true, from which the progress line is made: all 0, or absent, while there is nothing to tell."""
        breaker, last = self.breaker, self.breaker.last
        figures = dict.fromkeys(FIGURES, 0.0)
        if last is not None and breaker.shown(self._loop.time()):
            since_s = self._since() or 0.0
            figures = {
                "silent": 1.0,
                "since_s": since_s,
                "until_s": since_s + breaker.limit_s,
                "why": float(last.why),
                "every_s": breaker.every_s if breaker.held else 0.0,
                "asked_s": last.asked_s or 0.0,
            }
        elif not self._shown:
            return
        self._shown = bool(figures["silent"])
        self._stats.extra.update({endpoint_key(self._name, key): value for key, value in figures.items()})


def _fault(trouble: Trouble) -> Fault:
    return Fault(trouble.why, trouble.message, trouble.asked_s)


_RESULTS = {Action.REFUSED: Probed.REFUSED, Action.DENIED: Probed.DENIED}
