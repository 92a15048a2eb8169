"""The yardstick is the class of numbers of rows that costs least, and pieces are always of its class."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from raygen.models.stable.yardstick import FIRST, Yardstick, best

# What a CPU with AMX does in bfloat16: 64 rows are computed as these are, 16 as the others.
AMX_LAYERS: dict[str, Callable[[int], bool]] = {
    "576 to 576": lambda rows: 48 <= rows <= 272,
    "576 to 1536": lambda rows: 48 <= rows <= 752,
    "1536 to 576": lambda rows: 48 <= rows <= 336 or rows in (496, 528, 560),
    "2048 to 2048": lambda rows: 48 <= rows <= 320,
}


def kernels(large: Callable[[int], bool]) -> Callable[[int], str]:
    return lambda rows: "large" if large(rows) else "small"


@pytest.mark.parametrize("layer", AMX_LAYERS)
def test_on_amx_the_large_kernels_are_the_yardstick(layer: str):
    bits = kernels(AMX_LAYERS[layer])
    yardstick = Yardstick(bits)
    assert (yardstick.bits, yardstick.least) == ("large", 48)
    for rows in range(1, 1400, 7):
        pieces = yardstick.pieces(rows)
        assert {bits(piece) for piece in pieces} == {"large"}, rows
        assert rows <= sum(pieces) < rows + 80
    assert yardstick.pieces(16) == yardstick.pieces(48) == [48]
    assert yardstick.pieces(208) == [208]
    assert len(yardstick.pieces(512)) <= 2 + (layer == "576 to 576")


def test_where_all_agree_nothing_is_filled_up_or_cut():
    yardstick = Yardstick(lambda rows: "one")
    assert yardstick.least == 16
    assert all(yardstick.pieces(rows) == [rows] for rows in range(16, 513, 16))
    assert yardstick.pieces(5) == [16]
    assert yardstick.pieces(700) == [512, 192]
    assert yardstick.pieces(0) == []
    assert sum(yardstick.pieces(5000)) == 5008


def test_a_gap_is_computed_in_pieces_beside_it():
    # MKL, float32, two threads: 64 to 192 rows are added up in another order.
    yardstick = Yardstick(lambda rows: "b" if 64 <= rows <= 192 else "a")
    assert (yardstick.bits, yardstick.least) == ("a", 16)
    assert yardstick.pieces(48) == [48]
    assert yardstick.pieces(96) == [48, 48]
    assert yardstick.pieces(192) == [208]  # one piece, filled up, is cheaper than four
    assert yardstick.pieces(256) == [256]


def test_where_nothing_agrees_widely_it_is_still_one_size():
    yardstick = Yardstick(str)
    assert yardstick.least in FIRST
    assert set(yardstick.pieces(1000)) == {yardstick.least}
    odd = Yardstick(lambda rows: "" if rows > 16 else "a")  # larger ones differ among their own rows
    assert odd.pieces(100) == [16] * 7
    assert Yardstick(lambda rows: "").pieces(3) == [1, 1, 1]


def test_every_process_chooses_the_same_whatever_was_tried_before():
    bits = kernels(AMX_LAYERS["576 to 576"])
    tried: list[int] = []

    def trying(rows: int) -> str:
        tried.append(rows)
        return bits(rows)

    first, second = Yardstick(trying), Yardstick(bits)
    assert tried == list(FIRST)
    second.pieces(144)
    assert (first.bits, first.least) == (second.bits, second.least)
    first.pieces(144)
    assert tried == [*FIRST, 144]  # the others when they are met, once
    first.pieces(144)
    assert tried == [*FIRST, 144]


def test_any_number_may_be_a_piece_where_that_is_said():
    yardstick = Yardstick(lambda texts: "a", (1, 2, 8), (1, 2, 4, 8), any_size=True)
    assert yardstick.pieces(7) == [7]
    picky = Yardstick(lambda texts: "b" if texts == 7 else "a", (1, 2, 8), (1, 2, 4, 8), any_size=True)
    assert picky.pieces(7) == [8]


def test_pieces_are_the_cheapest():
    assert sum(best(288, range(48, 273, 16))) == 288
    assert best(300, [16, 128]) == [128, 128, 128]
    assert best(20, [16]) == [16, 16]
