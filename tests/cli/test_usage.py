"""raygen usage: a month is a month."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raygen.serve.tenants.ledger import Ledger
from raygen.storage import open_store
from raygen.usage import Usage

Cli = Callable[..., Any]


@pytest.mark.parametrize("month", ["2026", "2026-13", "2026-1", "december", "", "2026-12-01"])
def test_what_is_no_month_is_refused(cli: Cli, tmp_path: Path, month: str) -> None:
    done = cli("usage", "--store", tmp_path, f"--month={month}")
    assert done.code == 2
    assert "such as 2026-12" in done.err


def test_a_month_is_added_up(cli: Cli, tmp_path: Path) -> None:
    ledger = Ledger(open_store(str(tmp_path)))
    ledger.add("acme", "smol", Usage(output_tokens=2))
    ledger.flush()
    assert "acme  smol  1 requests" in cli("usage", "--store", tmp_path).out
    assert "nothing was used in 2020-01" in cli("usage", "--store", tmp_path, "--month", "2020-01").err
