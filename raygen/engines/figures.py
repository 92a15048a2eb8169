"""Engine figures: which of the numbers that engines post are gauges, and what the others mean together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from raygen.formatting import count
from raygen.usage import Usage

# Of this moment: summed over living engines. All others are totals since an engine's start.
GAUGES = frozenset({"in_flight", "waiting", "limit", "kv_positions", "kv_limit"})

POOL = "pool."  # `pool.<model>.<figure>`: of the pools, all of this moment
# `endpoint.<model>.<figure>`: of endpoints that answer nobody, all of this moment. `silent`: how many engines find them so;
# the others are times and the like, which cannot be added up.
ENDPOINT = "endpoint."

# `answered.<model>`: requests that engines have had answered. An engine that comes later thereby knows that an endpoint which
# is silent now is no wrong address.
ANSWERED = "answered."


# `usage.<unit>`: what engines have taken and made.
USAGE = "usage."


def usage_figures(usage: Mapping[str, float]) -> dict[str, float]:
    """Return usage as figures. May be called while the engine counts on."""
    return {f"{USAGE}{unit}": amount for unit, amount in dict(usage).items()}


def usage_of(figures: Mapping[str, float]) -> Usage:
    """Return the usage that figures tell."""
    units = {key.removeprefix(USAGE): value for key, value in figures.items() if key.startswith(USAGE)}
    return Usage(units)


def is_gauge(key: str) -> bool:
    """Return whether a figure is a state of now, and no sum."""
    return key in GAUGES or key.startswith((POOL, ENDPOINT))


def endpoint_key(model: str, figure: str) -> str:
    """Return the key of a figure about a model's endpoint."""
    return f"{ENDPOINT}{model}.{figure}"


def add_figures(found: dict[str, float], figures: Mapping[str, float]) -> None:
    """Add an engine's figures to what others said."""
    for key, value in figures.items():
        if key.startswith(ENDPOINT) and not key.endswith(".silent"):
            found[key] = max(found.get(key, 0), value)
        else:
            found[key] = found.get(key, 0) + value


def pool_figures(figures: Mapping[str, float]) -> dict[str, tuple[int, float | None]]:
    """Return each pool's replicas, and how full they are, 0..1; None of engines that do not say."""
    found = {}
    for key, replicas in figures.items():
        if key.startswith(POOL) and key.endswith(".replicas"):
            name = key.removeprefix(POOL).removesuffix(".replicas")
            limit = figures.get(f"{POOL}{name}.limit", 0)
            full = min(1.0, figures.get(f"{POOL}{name}.in_flight", 0) / limit) if limit else None
            found[name] = (int(replicas), full)
    return found


def prefix_hit_rate(figures: Mapping[str, float]) -> float | None:
    """Return the share of prompt tokens that were not computed again, 0..1; None of engines that do not say."""
    reused = figures.get("prompt_tokens_reused")
    if reused is None:
        return None
    tokens = reused + figures.get("prompt_tokens_computed", 0)
    return reused / tokens if tokens else None


def kv_use(figures: Mapping[str, float], of: str = "kv_positions") -> float | None:
    """Return how full the memory for keys and values is, 0..1; None of engines without one.

    Args:
        of: `kv_positions`, now; `kv_peak`, at most so far.
    """
    limit = figures.get("kv_limit")
    return figures.get(of, 0) / limit if limit else None


def missing_lines(figures: Mapping[str, float]) -> list[str]:
    """Say what endpoints left out beside the texts, a line each."""
    answers, samples = int(figures.get("usage_missing", 0)), int(figures.get("logprobs_missing", 0))
    lines = []
    if answers:
        lines.append(
            f"the endpoint did not say how many tokens {count(answers, 'answer')} took: null in `usage`, 0 in totals "
            "and budgets"
        )
    if samples:
        lines.append(
            f"{count(samples, 'sample')} came without log-probabilities that were asked for: null there"
        )
    return lines


def merged_figures(sessions: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the figures of a run: totals of its sessions added up, the largest of gauges and peaks."""
    found: dict[str, float] = {}
    for figures in sessions:
        for key, value in figures.items():
            largest = is_gauge(key) or key == "kv_peak"
            found[key] = max(found.get(key, 0), value) if largest else found.get(key, 0) + value
    return found
