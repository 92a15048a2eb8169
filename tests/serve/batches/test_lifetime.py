import pytest

from raygen.serve.batches.routes import _lives_s
from raygen.wire.errors import ApiError


@pytest.mark.parametrize("seconds", ["3599", "2592001", "000003600999", "000003600" + "9" * 5000, "-1", ""])
def test_a_lifetime_out_of_bounds_is_refused_however_it_is_written(seconds: str) -> None:
    with pytest.raises(ApiError, match="a whole number from 3600 to 2592000"):
        _lives_s("created_at", seconds)
