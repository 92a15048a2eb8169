"""Create once: whatever a store answers, what stands is told truly, and nothing that may count is deleted."""

from __future__ import annotations

import pytest

from raygen.errors import AccessError, CorruptDataError, StorageError, UnknownResultError
from raygen.storage.create import WRITE_TRIES, create_once, pause_s
from tests.storage.create_mutants import MUTANTS
from tests.storage.creators import KEY, MINE, OTHERS, Create, ScriptedStore, broken_promises


@pytest.fixture(autouse=True)
def _impatient(slept: list[float]) -> None:
    """No test of this file waits."""


def create(store: ScriptedStore, *, read_back: bool = False) -> bytes | None:
    return create_once(store, KEY, MINE, lambda: store.get(KEY), read_back=read_back)


def test_no_answer_of_a_store_breaks_a_promise() -> None:
    assert broken_promises(create_once) == set()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_caught(mutant: Create) -> None:
    assert MUTANTS[mutant] in broken_promises(mutant)


def test_what_is_created_at_once_is_not_read() -> None:
    store = ScriptedStore()
    assert create(store) is None
    assert (store.stands, store.asked) == (MINE, ["put_if_absent"])


def test_what_is_created_is_read_back_when_asked() -> None:
    store = ScriptedStore()
    assert create(store, read_back=True) == MINE


def test_a_taken_key_is_read() -> None:
    store = ScriptedStore(("beaten",))
    assert (create(store), store.stands) == (OTHERS, OTHERS)


def test_a_lost_answer_is_found_by_reading_one_s_own() -> None:
    store = ScriptedStore(("lost_answer",))
    assert create(store) == MINE
    assert store.asked == ["put_if_absent", "get"]


def test_a_write_that_did_not_arrive_is_repeated(slept: list[float]) -> None:
    store = ScriptedStore(("lost_write", "lost_write"))
    assert create(store) is None
    assert store.asked == ["put_if_absent", "get", "put_if_absent", "get", "put_if_absent"]
    assert slept == [0.1, 0.2]


def test_pauses_grow_to_a_bound() -> None:
    assert [pause_s(tries) for tries in range(1, 9)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_store_that_never_answers_is_named() -> None:
    store = ScriptedStore(("lost_write",) * WRITE_TRIES)
    with pytest.raises(
        UnknownResultError, match=r"^memory://store/claim.json: .*whether the plan was written$"
    ):
        create_once(store, KEY, MINE, lambda: store.get(KEY), unsettled="the plan was written")


def test_damage_is_told_at_once() -> None:
    store = ScriptedStore(("beaten",), ("damaged",))
    with pytest.raises(CorruptDataError):
        create(store)
    assert store.asked == ["put_if_absent", "get"]


@pytest.mark.parametrize("refusal", [AccessError("no rights"), StorageError("the store is away")])
def test_a_refusal_as_such_is_not_repeated(
    refusal: Exception, monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    def refuse(key: str, data: bytes) -> bool:
        raise refusal

    store = ScriptedStore()
    monkeypatch.setattr(store, "put_if_absent", refuse)
    with pytest.raises(type(refusal)):
        create(store)
    assert (slept, store.asked) == ([], [])
