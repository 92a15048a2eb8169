import pytest

from raygen.serve.batches.pages import Page
from raygen.wire.errors import ApiError


@pytest.mark.parametrize("limit", ["0", "101", "000000001999999", "000000001" + "9" * 5000])
def test_a_page_longer_than_the_most_is_refused_however_it_is_written(limit: str) -> None:
    with pytest.raises(ApiError, match="limit"):
        Page.asked({"limit": limit}, 20, 100)
