"""Sealed records notice every change of their content."""

from __future__ import annotations

import orjson
import pytest

from raygen.errors import CorruptDataError, KeyNotFoundError
from raygen.storage.sealed import READ_TRIES, read_sealed, seal, unseal
from tests.exactly_once.memory_store import MemoryStore

RECORD = {"b": [1, 2.5, None], "a": {"x": "ä"}, "big": 2**62}


def test_what_was_sealed_is_unsealed() -> None:
    assert unseal(seal(RECORD), "here") == RECORD


def test_order_and_white_space_do_not_matter() -> None:
    record = orjson.loads(seal(RECORD))
    assert unseal(orjson.dumps(dict(sorted(record.items())), option=orjson.OPT_INDENT_2), "here") == RECORD


def test_every_flipped_bit_is_noticed() -> None:
    data = seal(RECORD)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptDataError, match="here"):
            unseal(bytes(flipped), "here")


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b'"text"', b"{}", b'{"a": 1}', seal(RECORD)[:-1]])
def test_what_is_no_sealed_record_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptDataError, match="here: not a sealed record"):
        unseal(data, "here")


def test_a_corrupt_answer_is_asked_for_again(slept: list[float]) -> None:
    class Flaky(MemoryStore):
        reads = 0

        def get(self, key: str) -> bytes:
            self.reads += 1
            if self.reads < READ_TRIES:
                return b"garbage"
            return super().get(key)

    store = Flaky()
    store.put("a", seal(RECORD))
    assert read_sealed(store, "a") == RECORD
    assert len(slept) == READ_TRIES - 1


def test_what_stays_corrupt_is_an_error_with_its_place() -> None:
    store = MemoryStore()
    store.put("a", b"garbage")
    with pytest.raises(CorruptDataError, match=r"memory://store/a: not a sealed record$"):
        read_sealed(store, "a")
    with pytest.raises(CorruptDataError, match=r"memory://store/a: not a sealed record; mend it$"):
        read_sealed(store, "a", "mend it")
    with pytest.raises(KeyNotFoundError):
        read_sealed(store, "b")
