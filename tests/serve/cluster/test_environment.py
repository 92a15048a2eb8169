from __future__ import annotations

import os
import subprocess
import sys

import pytest

from raygen.errors import EngineError
from raygen.serve.cluster import environment
from raygen.serve.cluster.environment import MIDDLEWARES, VARIABLES, check_variables, set_variables, unset
from raygen.serve.cluster.proxy import middlewares


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_what_is_not_set_is_named_with_what_it_should_be(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("RAY_AUTH_MODE", "disabled")
    lines = unset()
    assert "RAY_AUTH_MODE is disabled; set it to token" in lines
    assert "RAY_SERVE_USE_GRPC_BY_DEFAULT is not set; set it to 1" in lines
    assert len(lines) == len(VARIABLES)
    with pytest.raises(EngineError, match="environment of Ray: RAY_AUTH_MODE is disabled"):
        check_variables()


def test_a_user_s_own_value_is_kept_and_told(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("RAY_SERVE_ENABLE_DIRECT_INGRESS", "1")
    set_variables()
    assert os.environ["RAY_SERVE_ENABLE_DIRECT_INGRESS"] == "1"
    assert [line for line in unset() if "DIRECT_INGRESS is 1" in line]


def test_what_serve_took_otherwise_is_told(fresh: pytest.MonkeyPatch) -> None:
    set_variables()
    fresh.setattr(environment, "as_read", lambda name: "something else")
    assert any("was set too late" in line for line in unset())


def test_in_a_process_that_starts_with_them_serve_takes_every_one() -> None:
    """A new version of Ray that no longer knows one of these fails here."""
    script = (
        "from raygen.serve.cluster.environment import set_variables, unset\n"
        "set_variables()\n"
        "import sys; found = unset(); print(found); sys.exit(bool(found))\n"
    )
    environ = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_proxy_s_middlewares_are_where_the_variable_says() -> None:
    assert f"{middlewares.__module__}:{middlewares.__name__}" == MIDDLEWARES
