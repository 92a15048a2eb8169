"""Silence: what engines' figures say of endpoints that answer nobody, in words for people."""

from __future__ import annotations

import time
from collections.abc import Mapping

from raygen.engines.figures import ENDPOINT, endpoint_key
from raygen.engines.openai.breaker import Why
from raygen.formatting import duration

WORDS = {
    Why.UNKNOWN: "no answer",
    Why.REFUSED: "connection refused",
    Why.NAME: "its name is not known",
    Why.TLS: "no TLS connection",
    Why.UNREACHED: "no connection",
    Why.TIMEOUT: "no answer in time",
    Why.BROKEN: "the connection breaks",
    Why.NONSENSE: "no chat completions come back",
}


def silences(figures: Mapping[str, float]) -> list[str]:
    """Say which endpoints answer nobody, since when and why, and when they are given up: a line each."""
    return [
        _line(key.removeprefix(ENDPOINT).removesuffix(".silent"), figures)
        for key, engines in sorted(figures.items())
        if key.startswith(ENDPOINT) and key.endswith(".silent") and engines
    ]


def _line(model: str, figures: Mapping[str, float]) -> str:
    def figure(name: str) -> float:
        return figures.get(endpoint_key(model, name), 0)

    code = int(figure("why"))
    why = f"HTTP {code}" if code >= 100 else WORDS[Why(code)]
    if asked_s := figure("asked_s"):
        why += f", it asks for {duration(asked_s, whole=True)} of silence"
    what = "refuses every request" if code == 429 else "does not answer"
    again = f"; asking again every {figure('every_s'):g} s" if figure("every_s") else ""
    return f"{model}'s endpoint {what} since {at(figure('since_s'))} ({why}){again}; gives up at {at(figure('until_s'))}"


def at(epoch_s: float) -> str:
    """Return the time of day here, with the date if that is another one: `14:03:20`."""
    then, now = time.localtime(epoch_s), time.localtime()
    return time.strftime("%H:%M:%S" if then[:3] == now[:3] else "%Y-%m-%d %H:%M:%S", then)
