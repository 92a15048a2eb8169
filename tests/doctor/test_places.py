"""Places: a store is really written and nothing of it stays; names of variables are told, their values never."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from raygen.doctor.places import check_cache, check_environment, check_store, check_temporary_files
from raygen.errors import AccessError
from raygen.storage import LocalStore

GIB = 2**30


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch):
    """Say how much of a disk of 100 GiB is free."""

    def free(gib: float) -> None:
        usage = SimpleNamespace(total=100 * GIB, used=0, free=int(gib * GIB))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    return free


def test_the_cache_is_measured(tmp_path: Path, disk) -> None:
    disk(50)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"x" * 3 * 2**20)
    (found,) = check_cache(tmp_path)
    assert (found.state, found.value) == ("ok", f"{tmp_path}: 3 MiB used, 50.0 GiB free")


def test_a_cache_that_is_not_there_yet_is_fine_and_not_made(tmp_path: Path, disk) -> None:
    disk(50)
    assert check_cache(tmp_path / "a" / "b")[0].state == "ok"
    assert not (tmp_path / "a").exists()


def test_the_cache_is_the_one_that_runs_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk) -> None:
    disk(50)
    monkeypatch.setenv("RAYGEN_CACHE", str(tmp_path / "own"))
    assert check_cache()[0].facts["path"] == str(tmp_path / "own")


def test_a_full_disk_beside_the_cache_is_a_warning(tmp_path: Path, disk) -> None:
    disk(1)
    (found,) = check_cache(tmp_path)
    assert found.state == "warning"
    assert "RAYGEN_CACHE" in found.remedy


def test_a_cache_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk
) -> None:
    disk(50)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (found,) = check_cache(tmp_path)
    assert found.state == "error"
    assert str(tmp_path) in found.remedy


def test_a_file_where_the_cache_has_to_be_is_an_error(tmp_path: Path, disk) -> None:
    disk(50)
    (tmp_path / "file").touch(0o755)
    assert check_cache(tmp_path / "file" / "models")[0].state == "error"


def test_a_disk_that_ray_refuses_is_a_warning(tmp_path: Path, disk) -> None:
    disk(4)
    (found,) = check_temporary_files(tmp_path)
    assert found.state == "warning"
    assert "95%" in found.remedy
    disk(6)
    assert check_temporary_files(tmp_path)[0].state == "ok"


def test_a_directory_is_probed_and_left_as_it_was(tmp_path: Path) -> None:
    (found,) = check_store(str(tmp_path / "runs" / "new"))
    assert found.state == "ok"
    assert found.value == f"{tmp_path}/runs/new: can be written, has conditional writes"
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_written_is_an_error_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(store: LocalStore, key: str, data: bytes) -> bool:
        raise AccessError(f"cannot write {store.uri}: Permission denied;\n check owner")

    monkeypatch.setattr(LocalStore, "put_if_absent", refuse)
    (found,) = check_store(str(tmp_path))
    assert found.state == "error"
    assert found.value.endswith("Permission denied; check owner")
    assert found.facts["writable"] is False


def test_a_store_without_conditional_writes_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalStore, "put_if_absent", lambda store, key, data: store.put(key, data) or True)
    (found,) = check_store(str(tmp_path))
    assert found.state == "warning"
    assert "two at once" in found.remedy
    assert (found.facts["writable"], found.facts["conditional_writes"]) == (True, False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_directory_has_to_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("mine")
    (found,) = check_store(str(tmp_path / "runs" / "new"))
    assert found.state == "error"
    assert (tmp_path / "runs").read_text() == "mine"


def test_no_uri_of_a_store_is_an_error() -> None:
    (found,) = check_store("ftp://host/runs")
    assert found.state == "error"
    assert "s3://" in found.value


def test_variables_are_named_and_never_shown() -> None:
    proxies, settings = check_environment(
        {
            "HTTPS_PROXY": "http://me:secret@proxy:80",
            "no_proxy": "inner",
            "RAY_ADDRESS": "10.0.0.1:6379",
            "HOME": "/",
        }
    )
    assert (proxies.state, proxies.value) == ("ok", "HTTPS_PROXY, no_proxy")
    assert (settings.state, settings.value) == ("ok", "RAY_ADDRESS")
    assert "secret" not in f"{proxies} {settings}"
    assert "10.0.0.1" not in f"{proxies} {settings}"


@pytest.mark.parametrize("value", ["socks5://me:secret@proxy:1080", "http://me:secret@proxy:port"])
def test_a_proxy_that_endpoints_refuse_is_a_warning(value: str) -> None:
    proxies, _ = check_environment({"all_proxy": value, "NO_PROXY": "*"})
    assert proxies.state == "warning"
    assert "secret" not in f"{proxies}"


def test_without_variables_nothing_is_said_to_be_wrong() -> None:
    assert [found.value for found in check_environment({})] == ["none set", "nothing set"]
