"""JSON text from outside: read strictly and exactly, integers of any size too; and values written as JSON.

orjson alone makes doubles of integers over 64 bits, without a word. Fractions are IEEE doubles, here as elsewhere.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import orjson

DEEPEST = 200  # levels of nesting: code that walks a value, such as a template's, ends at 1,000, orjson's writer at 254
MAX_DIGITS = 4300  # of an integer: Python reads and writes no longer ones
_DIGITS = bytes(ord("0") if chr(i) in "0123456789" else ord(" ") for i in range(256))
_LONG = re.compile(rb"[0-9]{19,}")  # the shortest number that may be over 64 bits


def read_json(text: bytes | str) -> Any:
    """Return the value of a JSON text, as RFC 8259 has it: no NaN, no half surrogates, UTF-8.

    Raises:
        json.JSONDecodeError: it is none, or holds a number beyond the largest double, an integer of more than 4,300
            digits, or more levels than Python code can walk.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    # 19 digits in a row are over two neighbours of this sample: most texts need no longer look.
    if b"00" not in data[::9].translate(_DIGITS) or _LONG.search(data) is None:
        return orjson.loads(text)
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        # An integer of some hundred digits may be all that is wrong. With fewer digits it is JSON as good as with all.
        shorter = _LONG.sub(lambda digits: digits[0][:18], data)
        try:
            orjson.loads(shorter)
        except orjson.JSONDecodeError:
            shorter = b""
        if not shorter:
            raise
    return _read_exactly(data.decode())


def depth(value: Any) -> int:
    """Return how many lists and objects are inside each other: 0 for a plain value."""
    levels = 0
    layer = [value]
    while layer := [each for each in layer if isinstance(each, (dict, list))]:
        levels += 1
        layer = [inner for each in layer for inner in (each.values() if isinstance(each, dict) else each)]
    return levels


def is_too_deep(text: bytes, value: Any) -> bool:
    """Return whether a JSON text's value is nested deeper than DEEPEST levels."""
    return text.count(b"[") + text.count(b"{") > DEEPEST and depth(value) > DEEPEST


def write_json(value: Any, default: Callable[[Any], Any] | None = None, option: int = 0) -> bytes:
    """Return a value as JSON, as `orjson.dumps` writes it; integers of any size as they are.

    Raises:
        TypeError: it holds something that JSON has no form for, and that `default` does not replace.
    """
    try:
        return orjson.dumps(value, default, option)
    except orjson.JSONEncodeError as error:
        try:
            value = _whole(value)
        except RecursionError:
            raise error from None
        return orjson.dumps(value, default, option)


def _read_exactly(text: str) -> Any:
    """Python's own reading of what orjson has found to be JSON."""
    try:
        return json.loads(text, parse_int=_integer, parse_float=_finite)
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", text, 0) from None
    except ValueError as error:
        raise json.JSONDecodeError(str(error), text, 0) from None


def _integer(digits: str) -> int:
    if len(digits.removeprefix("-")) > MAX_DIGITS:
        raise ValueError(f"an integer of {len(digits):,} digits; at most {MAX_DIGITS:,} are read")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("number is infinity when parsed as double")
    return number


def _whole(value: Any) -> Any:
    """Return a value with integers over 64 bits as finished pieces of JSON."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return orjson.Fragment(str(value).encode())
    if isinstance(value, dict):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(each) for each in value]
    return value
