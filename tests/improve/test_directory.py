from __future__ import annotations

import pytest

from raygen.errors import UserError
from raygen.improve.directory import refuse_course
from tests.exactly_once.memory_store import MemoryStore


def test_a_self_improvement_is_no_run() -> None:
    store = MemoryStore()
    refuse_course(store)
    store.put("course.json", b"{}")
    with pytest.raises(UserError, match=r"a self-improvement, no run: .* round-0"):
        refuse_course(store)
