"""RangeReader: a stream over ranges."""

from __future__ import annotations

import io

import pytest

from raygen.storage.ranges import RangeReader

DATA = bytes(range(100))


def test_a_place_before_the_beginning_is_refused_and_the_stream_stays_where_it_was() -> None:
    reader = RangeReader(lambda start, stop: DATA[start:stop], len(DATA))
    reader.seek(-10, io.SEEK_END)
    with pytest.raises(ValueError, match="cannot seek to byte -10"):
        reader.seek(-100, io.SEEK_CUR)
    assert reader.read() == DATA[90:]
