"""Figures of the exactly-once tests, printed at the end; and what their cases begin with."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from tests.exactly_once.credentials import loopback_credentials
from tests.exactly_once.workers import Templates, make_templates

__all__ = ["loopback_credentials"]

FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Add a line to the figures."""
    return pytestconfig.stash.setdefault(FIGURES, []).append


@pytest.fixture(scope="session")
def made(
    loopback_credentials: object, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[bool], Templates]:
    """Return a program's templates, made once: pytest makes a fixture with parameters anew whenever these change."""

    @functools.cache
    def make(refined: bool) -> Templates:
        return make_templates(tmp_path_factory.mktemp("templates"), refined)

    return make


@pytest.fixture(scope="session")
def pictures(loopback_credentials: object, tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """Runs of a program that renders: each chunk has its media in several archives."""
    return make_templates(tmp_path_factory.mktemp("pictures"), media=True)


@pytest.fixture(params=[False, True], ids=["one-step", "refined"])
def templates(request: pytest.FixtureRequest, made: Callable[[bool], Templates]) -> Templates:
    """Runs of each of the two programs, to begin cases with."""
    return made(request.param)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = config.stash.get(FIGURES, [])
    if lines:
        terminalreporter.section("exactly once")
        for line in lines:
            terminalreporter.write_line(line)
