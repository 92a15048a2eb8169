"""The terminal: what it shows of raygen's messages, and what it never lets through."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from raygen.messages import LOGGER
from raygen.terminal import MessageHandler, show_messages


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    handlers, level = LOGGER.handlers[:], LOGGER.level
    LOGGER.handlers = []
    yield
    LOGGER.handlers = handlers
    LOGGER.setLevel(level)


def test_messages_are_shown_once_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("raygen.models.fetch.cache").info("fetching model x")
    assert capsys.readouterr().err == ""
    show_messages()
    show_messages()
    logging.getLogger("raygen.models.fetch.cache").info("fetching model x")
    logging.getLogger("raygen").info("resuming: 3 chunks are done")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "raygen: fetching model x\nresuming: 3 chunks are done\n")


def test_what_others_said_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_messages()
    logging.getLogger("raygen.models").warning("model \x1b[2J\u202ex")
    assert capsys.readouterr().err == "raygen: model \\x1b[2J\\u202ex\n"


def test_a_terminal_that_is_gone_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Gone())
    monkeypatch.setattr(logging, "raiseExceptions", False)
    MessageHandler().emit(logging.makeLogRecord({"name": "raygen", "msg": "x"}))
