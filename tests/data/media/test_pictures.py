"""Pictures: bytes, Hugging Face's structs, lists of either; a path is never followed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from raygen.data.media.pictures import holds_pictures, pictures_in
from raygen.errors import RowError

FACE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize(
    "kind",
    [
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.null(),
        FACE,
        pa.list_(FACE),
        pa.large_list(pa.binary()),
    ],
)
def test_columns_that_hold_pictures(kind: pa.DataType) -> None:
    assert holds_pictures(kind)


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.struct([("path", pa.string())]),
        pa.struct([("bytes", pa.string())]),
        pa.list_(pa.string()),
    ],
)
def test_columns_that_do_not(kind: pa.DataType) -> None:
    assert not holds_pictures(kind)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"a", [b"a"]),
        ({"bytes": b"a", "path": "x.png"}, [b"a"]),
        ({"bytes": b"a", "path": None}, [b"a"]),
        ([{"bytes": b"a", "path": None}, b"b"], [b"a", b"b"]),
        ([], []),
    ],
)
def test_encoded_images_come_out_in_order(value: object, found: list[bytes]) -> None:
    assert pictures_in(value, "image") == found


@pytest.mark.parametrize("value", [None, "text", {"bytes": None, "path": None}, [b"a", None]])
def test_no_bytes_fail_the_row(value: object) -> None:
    with pytest.raises(RowError, match="'image' holds no image bytes") as caught:
        pictures_in(value, "image")
    assert caught.value.code == "missing_value"


def test_a_path_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    with pytest.raises(RowError, match=r"no bytes in this row, only the path '.*x\.png', which is not read"):
        pictures_in({"bytes": None, "path": str(tmp_path / "x.png")}, "image")
