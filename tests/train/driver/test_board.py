"""The training board: records in order, each until it is read, and the word to stop."""

from __future__ import annotations

from raygen.train.driver.board import TrainBoard


def step(number: int) -> dict[str, int]:
    return {"step": number}


def test_records_come_in_order_and_stay_until_they_are_read() -> None:
    board = TrainBoard()
    board.push([step(1), step(2)])
    assert board.read(0) == ([step(1), step(2)], 2)
    board.push([step(3)])
    assert board.read(0) == ([step(1), step(2), step(3)], 3)  # the first answer may have been lost
    assert board.read(3) == ([], 3)
    board.push([step(4)])
    assert board.read(3) == ([step(4)], 4)


def test_what_was_read_is_forgotten() -> None:
    board = TrainBoard()
    for number in range(1000):
        board.push([step(number)])
        _, following = board.read(number)
        assert following == number + 1
    assert len(board._records) == 1


def test_a_board_that_was_started_again_goes_on() -> None:
    board = TrainBoard()
    assert board.read(700) == ([], 700)
    board.push([step(9)])
    assert board.read(700) == ([step(9)], 701)


def test_the_worker_hears_that_it_is_to_stop() -> None:
    board = TrainBoard()
    assert not board.push([step(1)])
    board.read(0, stopping=True)
    assert board.push([step(2)])
    board.read(0)
    assert board.push([step(3)])
