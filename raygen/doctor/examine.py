"""Examine: all checks of the doctor, in the order in which they are told. Each one's libraries are loaded when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

from raygen.doctor.finding import Finding

# What is looked at, and by which function of which file.
CHECKS = {
    "software": "software:check_software",
    "cores": "hardware:check_cores_and_memory",
    "shared memory": "hardware:check_shared_memory",
    "cpu": "hardware:check_cpu",
    "gpus": "hardware:check_gpus",
    "model cache": "places:check_cache",
    "temporary files": "places:check_temporary_files",
    "environment": "places:check_environment",
}


def examine(uri: str | None = None) -> list[Finding]:
    """Return what all checks find. A check that cannot work, such as for want of a library, is an error among the others.

    Args:
        uri: of a store that runs are to be written to; None: none is tried.
    """
    findings = [finding for name, check in CHECKS.items() for finding in guarded(name, partial(_call, check))]
    if uri is not None:
        findings += guarded("store", partial(_call, "places:check_store", uri))
    return findings


def guarded(name: str, check: Callable[[], Sequence[Finding]]) -> Sequence[Finding]:
    """Return what a check finds; that it cannot work is a finding, too."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - one broken library must not hide what the others say
        said = " ".join(f"{type(error).__name__}: {error}".split())
        return [
            Finding(name, "error", f"cannot be looked at: {said}", "Install raygen anew: pip install raygen")
        ]


def _call(check: str, *arguments: str) -> Sequence[Finding]:
    module, _, function = check.partition(":")
    found: Sequence[Finding] = getattr(import_module(f"raygen.doctor.{module}"), function)(*arguments)
    return found
