"""The scaler: pools grow while requests wait and shrink while one replica fewer would do; never for a moment's sake."""

from __future__ import annotations

from raygen.pipeline.pools.scaler import Load, Scaler

LOW, HIGH, ROOM = 1, 6, 10


def simulated(asked: dict[int, float], until_s: int, start_s: int = 0) -> list[tuple[int, int]]:
    """Return (second, replicas) of every change. A new replica takes `start_s` to come up; `asked`: from a second on."""
    scaler = Scaler(LOW, HIGH, ROOM, wait_s=3, idle_s=30)
    up, coming, load, changes = LOW, [], 0.0, []
    for now_s in range(until_s):
        up += sum(at <= now_s for at in coming)
        coming = [at for at in coming if at > now_s]
        load = asked.get(now_s, load)
        change = scaler.change(now_s, Load(up, len(coming), load))
        if change > 0:
            coming += [now_s + start_s] * change
            up, coming = (up, coming) if start_s else (up + change, [])
        else:
            up += change
        if change:
            changes.append((now_s, up + len(coming)))
        assert LOW <= up + len(coming) <= HIGH
    return changes


def test_it_grows_when_requests_wait_long_enough_and_at_most_doubles() -> None:
    assert simulated({0: 100}, 20) == [(3, 2), (7, 4), (11, 6)]
    assert simulated({0: 35}, 20) == [(3, 2), (7, 4)]  # what is asked fills four
    assert simulated({0: 25}, 20) == [(3, 2), (7, 3)]
    assert simulated({0: 10}, 99) == []  # nobody waits
    assert simulated({0: 100, 2: 5, 4: 100, 6: 5}, 50) == []  # nobody waits for long


def test_a_replica_that_is_starting_is_waited_for() -> None:
    assert simulated({0: 100}, 100, start_s=60) == [(3, 2), (66, 4)]


def test_it_shrinks_after_idleness_one_by_one_to_the_fewest() -> None:
    found = simulated({0: 100, 20: 0}, 300)
    assert found[:3] == [(3, 2), (7, 4), (11, 6)]
    assert found[3:] == [(50, 5), (81, 4), (112, 3), (143, 2), (174, 1)]


def test_it_keeps_what_the_load_needs() -> None:
    found = simulated({0: 100, 20: 30}, 400)
    assert found[3:] == [(50, 5), (81, 4), (112, 3)]


def test_fixed_pools_never_change() -> None:
    scaler = Scaler(2, 2, ROOM, wait_s=0, idle_s=0)
    assert [scaler.change(now_s, Load(2, 0, asked)) for now_s, asked in enumerate([0, 500, 500, 0])] == [
        0
    ] * 4
