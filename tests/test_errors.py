from __future__ import annotations

import pickle

import pytest

from raygen.cluster.errors_as_text import pack_error, unpack_error
from raygen.errors import EngineConfigError, EngineError, UserError
from raygen.pipeline.pools.pooled import PoolLostError

SECRET = "model 'm' on device cuda: /home/ada/models: out of memory"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (EngineError, "engine_failed"),
        (EngineConfigError, "engine_misconfigured"),
        (PoolLostError, "engine_lost"),
    ],
)
def test_an_engines_error_has_a_code_and_public_words_beside_its_message(
    kind: type[EngineError], code: str
) -> None:
    error = kind(SECRET)
    assert str(error) == SECRET
    for back in (error, pickle.loads(pickle.dumps(error)), unpack_error(pack_error(error))):
        assert isinstance(back, EngineError)
        assert (type(back), back.code, str(back)) == (kind, code, SECRET)
        assert "ada" not in back.public
        assert "'m'" not in back.public


def test_a_wrong_configuration_of_an_engine_is_the_users() -> None:
    assert issubclass(EngineConfigError, UserError)
    assert EngineConfigError("x").exit_code == 2
