"""Signals are caught for a while, and given back."""

from __future__ import annotations

import signal
import threading

import pytest

from raygen.signals import catch_signals


def test_both_are_caught_and_given_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    caught: list[int] = []
    release = catch_signals(lambda: caught.append(1))
    try:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    finally:
        release()
    assert caught == [1, 1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_the_handler_raises_ends_the_main_threads_work() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    release = catch_signals(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        release()


def test_another_thread_catches_none() -> None:
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: catch_signals(lambda: None)())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
