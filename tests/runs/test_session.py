"""Sessions: advisory records of drivers; none of them can stop a run or a reader."""

from __future__ import annotations

import dataclasses

from raygen.errors import StorageError
from raygen.runs import session as sessions
from raygen.runs.session import MAX_POINTS, Session, read_sessions
from raygen.storage.sealed import seal
from raygen.usage import Usage
from tests.exactly_once.memory_store import MemoryStore
from tests.runs.made import FailingStore, once


def test_a_session_is_read_back_alike() -> None:
    store = MemoryStore()
    session = Session(rows={"accepted": 3}, usage=Usage(output_tokens=5), note="token budget of 5 reached")
    session.add_point(3, 0.12345)
    session.write(store)
    assert read_sessions(store) == [session]
    assert session.points[0][1:] == (3, 5, 0.123)


def test_sessions_come_oldest_first_and_each_keeps_its_own_object() -> None:
    store = MemoryStore()
    written = [Session() for _ in range(3)]
    for session in written[::-1]:
        session.write(store)
        session.write(store)
    assert [each.id for each in read_sessions(store)] == [each.id for each in written]
    assert len(store.objects) == 3


def test_a_broken_session_is_left_out() -> None:
    store = MemoryStore()
    good = Session()
    good.write(store)
    store.put("progress/0.json", b"garbage")
    store.put("progress/1.json", seal({**dataclasses.asdict(Session()), "unknown": 1}))
    assert read_sessions(store) == [good]


def test_a_store_that_does_not_answer_stops_no_run() -> None:
    store = FailingStore(once("put", StorageError("no")))
    Session().write(store)
    assert store.objects == {}


def test_points_stay_bounded_and_cover_the_whole_time() -> None:
    session = Session()
    for number in range(3 * MAX_POINTS):
        session.add_point(number, 0)
    rows = [point[1] for point in session.points]
    assert len(rows) <= MAX_POINTS
    assert rows == sorted(rows)
    assert rows[0] == 0
    assert rows[-1] == 3 * MAX_POINTS - 1


def test_points_tell_the_unit_that_leads() -> None:
    session = Session()
    for usage in (
        Usage(output_tokens=9),
        Usage(output_tokens=12, images=1),
        Usage(output_tokens=13, images=2),
    ):
        session.usage = usage
        session.add_point(1, 0)
    assert (session.lead, [point[2] for point in session.points]) == ("images", [0, 1, 2])
    session.usage = Usage(output_tokens=14)  # the figures of an engine that is gone
    session.add_point(1, 0)
    assert (session.lead, session.points[-1][2]) == ("images", 0)


def test_a_session_of_an_earlier_version_is_read() -> None:
    store = MemoryStore()
    record = dataclasses.asdict(Session()) | {"tokens": {"prompt": 7, "output": 5}}
    store.put("progress/1.json", seal({k: v for k, v in record.items() if k not in ("usage", "lead")}))
    [session] = read_sessions(store)
    assert (session.usage, session.lead) == ({"prompt_tokens": 7, "output_tokens": 5}, "output_tokens")


def test_a_beat_comes_well_before_a_driver_is_taken_for_dead() -> None:
    assert sessions.BEAT_S * 5 <= sessions.LOST_S
