"""Trials: what was found out about this machine's kernels, kept beside the weights: the next process starts without trying."""

from __future__ import annotations

import atexit
import fcntl
import functools
import hashlib
import json
import os
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from raygen.models.fetch.cache import ModelCache

FOLDER = "trials"
VERSION = 2  # of what is tried, and how
SAVE_EVERY_S = 1.0
LIMITS = (
    "ONEDNN_",
    "DNNL_",
    "MKL_",
    "ATEN_",
    "OMP_DYNAMIC",
)  # environment that decides which kernels are taken
CPU_LINES = ("model name", "cpu family", "model", "stepping", "cache size", "flags", "Features", "CPU part")


class Trials:
    """Findings by subject (what is computed) and trial (with how many rows): short texts. One file a machine.

    Args:
        path: of the file. One that is missing, broken or another machine's counts as empty; one that cannot be written
            costs only that the next process tries again. Several processes may share it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found = _read(path)
        self._new: dict[str, dict[str, str]] = {}
        self._saved_s = 0.0
        self._lock = threading.RLock()  # engines of one process may try at the same time

    def get(self, subject: str, trial: str) -> str | None:
        return self._found.get(subject, {}).get(trial)

    def put(self, subject: str, trial: str, finding: str) -> None:
        """Note a finding. It is in the file about a second later, or after `save`."""
        with self._lock:
            for notes in (self._found, self._new):
                notes.setdefault(subject, {})[trial] = finding
            if time.monotonic() - self._saved_s > SAVE_EVERY_S:
                self.save()

    def save(self) -> None:
        """Write what is new, beside what other processes wrote meanwhile."""
        with self._lock:
            if not self._new:
                return
            self._saved_s = time.monotonic()
            with suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.with_suffix(".lock").open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    self._write()
            self._new = {}

    def _write(self) -> None:
        for other in (_read(self._path), self._new):
            for subject, findings in other.items():
                self._found.setdefault(subject, {}).update(findings)
        part = self._path.with_name(f".{self._path.name}-{uuid.uuid4().hex}")
        try:
            part.write_text(_sealed(self._found))
            os.replace(part, self._path)
        finally:
            part.unlink(missing_ok=True)


def machine_trials() -> Trials:
    """Return the findings of this machine, as this process computes: with its libraries and the limits set for them.

    They are in $RAYGEN_TRIALS, or in `trials` in the model cache.
    """
    words = json.dumps(_machine(), sort_keys=True)
    folder = Path(os.environ.get("RAYGEN_TRIALS") or ModelCache().root / FOLDER)
    return _opened(folder / f"{hashlib.sha256(words.encode()).hexdigest()[:16]}.json")


@functools.cache
def _opened(path: Path) -> Trials:
    trials = Trials(path)
    atexit.register(trials.save)
    return trials


def _machine() -> dict[str, Any]:
    """Return what decides which kernels a library takes, but for sizes, type and threads."""
    import torch

    return {
        "version": VERSION,
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "libraries": [torch.__version__, torch.__config__.show()],
        "capability": torch.backends.cpu.get_cpu_capability(),
        "precision": [torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled],
        "limits": {name: value for name, value in os.environ.items() if name.startswith(LIMITS)},
    }


@functools.cache
def _cpu() -> dict[str, str]:
    """Return how Linux describes the first core."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    lines = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in lines if name.strip() in CPU_LINES}


def _sealed(found: dict[str, dict[str, str]]) -> str:
    return json.dumps({"sha256": _digest(found), "found": found}, indent=1, sort_keys=True)


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        value = json.loads(path.read_bytes())
        found = value["found"]
        whole = value["sha256"] == _digest(found)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if whole and isinstance(found, dict) else {}


def _digest(found: Any) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
