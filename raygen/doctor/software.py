"""Software: the versions of Python and of what raygen needs, beside the ones that it asks for. Nothing of it is imported."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from raygen.doctor.finding import Finding
from raygen.version import __version__

NAMED = ("ray", "pyarrow", "numpy", "pydantic")  # a line each: most depends on them
# Of extras: the package that tells whether one is there -> the extra.
TELLING = {
    "torch": "local",
    "transformers": "local",
    "peft": "train",
    "presidio-analyzer": "redact",
    "vllm": "vllm",
}


def check_software(
    needs: Sequence[str] | None = None,
    version_of: Callable[[str], str | None] | None = None,
    python: str | None = None,
) -> list[Finding]:
    """Compare what is installed with what raygen asks for.

    Args:
        needs: requirements, such as `ray>=2.60`; None: those of the installed raygen.
        version_of: a package's version, None if it is missing; None: as installed.
        python: its version; None: the running one.
    """
    python, version_of = python or platform.python_version(), version_of or _installed
    findings = [
        Finding("raygen", "ok", __version__, facts={"version": __version__}),
        _compare("python", python, SpecifierSet(_wanted_python()), "Use Python {}"),
    ]
    stated = [Requirement(need) for need in (_own_needs() if needs is None else needs)]
    needed = [need for need in stated if need.marker is None or need.marker.evaluate({"extra": ""})]
    if not needed:
        remedy = "pip install raygen (in a clone: make setup)"
        return [*findings, Finding("packages", "warning", "raygen is not installed, only found", remedy)]
    versions = {}
    for need in needed:
        name = canonicalize_name(need.name)
        versions[name] = version_of(name)
        found = _compare(name, versions[name], need.specifier, f"pip install '{need.name}{{}}'")
        if name in NAMED or found.state != "ok":
            findings.append(found)
    there = sum(each is not None for each in versions.values())
    findings.append(
        Finding(
            "packages", "ok", f"{there} of the {len(versions)} needed are there", facts={"versions": versions}
        )
    )
    return [*findings, *_of_extras(stated, version_of)]


def _of_extras(stated: Sequence[Requirement], version_of: Callable[[str], str | None]) -> list[Finding]:
    """Tell which extras are there; one that is not is no fault, another version than is asked for is."""
    wanted = {canonicalize_name(need.name): need.specifier for need in stated if need.marker is not None}
    findings = []
    for name, extra in TELLING.items():
        there = version_of(name)
        install = f"pip install 'raygen[{extra}]'"
        if there is None:
            findings.append(
                Finding(name, "ok", f"not installed; if you want it: {install}", facts={"version": None})
            )
        else:
            findings.append(
                _compare(name, there, wanted.get(canonicalize_name(name), SpecifierSet()), install)
            )
    return findings


def _compare(name: str, found: str | None, wanted: SpecifierSet, remedy: str) -> Finding:
    facts = {"version": found, "wanted": str(wanted)}
    if found is not None and wanted.contains(found, prereleases=True):
        return Finding(name, "ok", found, facts=facts)
    value = "not installed" if found is None else f"{found}; {wanted} is needed"
    return Finding(name, "error", value, remedy.format(wanted), facts)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _own_needs() -> list[str]:
    try:
        return requires("raygen") or []
    except PackageNotFoundError:
        return []


def _wanted_python() -> str:
    try:
        return metadata("raygen")["Requires-Python"] or ""
    except PackageNotFoundError:
        return ""
