"""The in-memory twin keeps the contract that the real stores keep."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from tests.exactly_once.memory_store import MemoryStore
from tests.storage import test_storage

CONTRACT = [
    test
    for name, test in vars(test_storage).items()
    if name.startswith("test_")
    and "arrow" not in name  # nothing in memory is read through a file system
    and list(inspect.signature(test).parameters) == ["store"]
]


@pytest.mark.parametrize("test", CONTRACT, ids=lambda test: test.__name__)
def test_it_keeps_the_contract(test: Callable[[MemoryStore], None]) -> None:
    test(MemoryStore())


def test_the_contract_was_found() -> None:
    names = {test.__name__ for test in CONTRACT}
    assert "test_only_the_first_conditional_write_counts" in names
    assert "test_of_64_racing_writers_one_wins" in names
