"""The worker thread's beginning: what OpenMP is told before torch is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHOW = """
import os, sys
from raygen.engines.worker import start_torch
assert "torch" not in sys.modules
start_torch(1, "cpu")
print(os.environ["GOMP_SPINCOUNT"], os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "10000 PASSIVE"), ({"GOMP_SPINCOUNT": "7"}, "7 PASSIVE")]
)
def test_threads_spin_briefly_unless_the_user_says_otherwise(given: dict[str, str], expected: str):
    kept = {name: value for name, value in os.environ.items() if "OMP" not in name}
    found = subprocess.run(
        [sys.executable, "-c", SHOW], env=kept | given, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == expected
