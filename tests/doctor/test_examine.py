"""The doctor as a whole: every check is told, a broken one among the others; exit code 0 or 1; JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import raygen
from raygen.doctor import examine as examine_module
from raygen.doctor.examine import examine, guarded
from raygen.doctor.finding import WIDTH, Finding

Cli = Callable[..., Any]


def few(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Only these checks: without PyTorch, the others take no time."""
    monkeypatch.setattr(examine_module, "CHECKS", {name: examine_module.CHECKS[name] for name in names})


def test_every_check_finds_something_on_this_machine(tmp_path: Path) -> None:
    names = [finding.name for finding in examine(str(tmp_path))]
    assert names[:3] == ["raygen", "python", "ray"]
    assert names[-1] == "store"
    assert {"cores", "memory", "cpu", "gpus", "model cache", "temporary files", "proxies"} <= set(names)
    assert len(names) == len(set(names))


def test_a_check_that_cannot_work_is_an_error_among_the_others() -> None:
    def broken() -> list[Finding]:
        raise ImportError("libcudart.so.12: cannot open\nshared object file")

    (found,) = guarded("gpus", broken)
    assert (found.name, found.state) == ("gpus", "error")
    assert "ImportError: libcudart.so.12: cannot open shared object file" in found.value


def test_the_command_tells_a_line_each_and_is_content(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch, "cores", "environment")
    done = cli("doctor", tmp_path)
    assert done.code == 0, done.out
    lines = done.out.splitlines()
    assert [line.split()[1] for line in lines if not line.startswith(" ")] == [
        *("cores", "memory", "proxies", "environment", "store")
    ]


def test_json_holds_the_same(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch, "software")
    done = json.loads(cli("doctor", "--json").out)
    assert done["fit"] is True
    first = done["findings"][0]
    assert first == {
        "name": "raygen",
        "state": "ok",
        "value": raygen.__version__,
        "remedy": "",
        "facts": {"version": raygen.__version__},
    }


def test_an_error_is_exit_code_1_and_a_warning_is_not(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)
    done = cli("doctor", "ftp://host/runs")
    assert (done.code, done.out.split()[0]) == (1, "error")
    assert json.loads(cli("doctor", "ftp://host/runs", "--json").out)["fit"] is False
    monkeypatch.setattr(examine_module, "CHECKS", {"proxies": "places:check_environment"})
    monkeypatch.setenv("all_proxy", "socks5://proxy:1080")
    done = cli("doctor")
    assert (done.code, done.out.split()[0]) == (0, "warning")


def test_a_long_finding_is_folded_below_its_value() -> None:
    lines = list(Finding("store", "warning", "s3://bucket/runs: " + "word " * 40, "Do this").lines())
    assert lines[0].startswith("warning  store              s3://bucket/runs: word")
    assert all(len(line) <= WIDTH for line in lines)
    assert all(line.startswith(" " * 28) for line in lines[1:])
    assert lines[-1].endswith("Do this")
