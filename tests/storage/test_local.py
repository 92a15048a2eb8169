"""LocalStore: what only a file system can do to it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raygen.errors import (
    AccessError,
    ConfigError,
    KeyNotFoundError,
    SourceError,
    StorageError,
    UnknownResultError,
)
from raygen.storage import LocalStore, find_inputs, open_store


def test_a_listing_does_not_follow_links_out_of_the_folder(tmp_path: Path) -> None:
    outside, inside = LocalStore(tmp_path / "outside"), LocalStore(tmp_path / "inside")
    outside.put("folder/secret.txt", b"secret")
    inside.put("real.txt", b"")
    (tmp_path / "inside/file.txt").symlink_to(tmp_path / "outside/folder/secret.txt")
    (tmp_path / "inside/folder").symlink_to(tmp_path / "outside/folder")
    (tmp_path / "inside/broken.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "inside/loop").symlink_to(tmp_path / "inside")
    (tmp_path / "inside/same.txt").symlink_to("real.txt")
    assert [info.key for info in inside.list()] == ["real.txt", "same.txt"]
    assert list(inside.list("folder/")) == []
    for uri in (tmp_path / "inside", tmp_path / "inside/*.txt", tmp_path / "inside/**"):
        assert [info.key for _, info in find_inputs(str(uri))] == ["real.txt", "same.txt"]
    (tmp_path / "link").symlink_to(tmp_path / "inside")
    assert [info.key for _, info in find_inputs(str(tmp_path / "link"))] == ["real.txt", "same.txt"]
    [(store, info)] = find_inputs(str(tmp_path / "inside/file.txt"))  # named, not listed
    assert store.get(info.key) == b"secret"


def test_half_written_files_are_never_listed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("a/b", b"")
    (tmp_path / "a/.tmp-0123").write_bytes(b"half")
    assert [info.key for info in store.list()] == ["a/b"]


@pytest.mark.parametrize("write", ["put", "put_if_absent"])
def test_a_killed_writer_leaves_its_file_at_the_top_of_the_store(tmp_path: Path, write: str) -> None:
    script = f"""
import os
from raygen.storage import LocalStore
os.replace = os.link = lambda *_: os._exit(9)
LocalStore({str(tmp_path)!r}).{write}("commits/00000001.json", b"half")
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert list((tmp_path / "commits").iterdir()) == []
    store = LocalStore(tmp_path)
    assert ([info.size_bytes for info in store.leftovers()], list(store.list())) == ([4], [])


def test_a_part_of_a_store_on_another_disk_is_written_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, link = os.stat, os.link

    def other_disk(path: str | Path, *more: Any, **named: Any) -> os.stat_result:
        found = real(path, *more, **named)
        return os.stat_result((*found[:2], 77, *found[3:])) if path == tmp_path / "data" else found

    def on_one_disk(old: Path, new: Path) -> None:
        assert old.parent == new.parent
        link(old, new)

    monkeypatch.setattr(os, "stat", other_disk)
    monkeypatch.setattr(os, "link", on_one_disk)
    assert LocalStore(tmp_path).put_if_absent("data/a", b"a")
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "a"]


@pytest.mark.parametrize("operation", ["fsync", "replace", "link"])
def test_a_failed_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    store = LocalStore(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, operation, fail)
    with pytest.raises(StorageError, match=r"cannot write .*/a: No space left on device"):
        (store.put_if_absent if operation == "link" else store.put)("a", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_whole_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for name in ("replace", "link"):
        real = getattr(os, name)

        def watch(source: Path, target: Path, real=real) -> None:
            seen.append((Path(source).read_bytes(), Path(target).exists(), Path(source).parent == tmp_path))
            real(source, target)

        monkeypatch.setattr(os, name, watch)
    store = LocalStore(tmp_path)
    store.put("x/a", b"one")
    store.put("x/a", b"two")
    store.put_if_absent("x/b", b"three")
    assert seen == [(b"one", False, True), (b"two", True, True), (b"three", False, True)]


def test_a_file_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    sync = os.fsync

    def watch(descriptor: int) -> None:
        is_folder = os.path.isdir(f"/proc/self/fd/{descriptor}")
        synced.append("folder" if is_folder else os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    LocalStore(tmp_path).put("a", b"12345")
    LocalStore(tmp_path).put_if_absent("b", b"123")
    assert synced == [5, "folder", 3, "folder"]


def test_a_name_that_may_not_last_is_an_unknown_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    sync = os.fsync

    def fail_for_folders(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    for write in (store.put, store.put_if_absent):
        with pytest.raises(UnknownResultError, match="durable"):
            write(write.__name__, b"")


def test_a_file_system_without_hard_links_has_no_conditional_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)
    store = LocalStore(tmp_path)
    with pytest.raises(StorageError, match="no hard links"):
        store.put_if_absent("a", b"")
    assert not store.has_conditional_put()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_permissions_by_the_file_system(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(AccessError, match="check owner and permissions"):
        LocalStore(tmp_path).has_conditional_put()


def test_refused_permissions_are_an_access_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.put("a", b"")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    for name in ("open", "scandir", "stat", "replace"):
        monkeypatch.setattr(os, name, refuse)
    for use in (
        lambda: store.get("a"),
        lambda: list(store.list()),
        lambda: store.stat("a"),
        lambda: store.put("a", b""),
    ):
        with pytest.raises(AccessError, match="Permission denied; check owner and permissions"):
            use()
    monkeypatch.undo()


def test_files_are_made_with_the_users_mask(tmp_path: Path) -> None:
    code = "import os, sys, raygen.storage as s; os.umask(0o027); s.LocalStore(sys.argv[1]).put('a', b'')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_pipes_and_folders_are_no_objects(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    store = LocalStore(tmp_path)
    assert list(store.list()) == []
    for key in ("pipe", "folder"):
        for use in (store.get, store.open, store.stat):
            with pytest.raises(KeyNotFoundError):
                use(key)
    with pytest.raises(SourceError):
        find_inputs(str(tmp_path / "pipe"))
    store.put("file", b"")
    with pytest.raises(AccessError, match="a file stands where a directory has to be"):
        store.put("file/below", b"")


def test_a_local_key_has_no_empty_part(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write 'a/b'"):
        LocalStore(tmp_path).put("a//b", b"")


def test_every_way_to_write_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    LocalStore(tmp_path).put("my data/50%/a.txt", b"1")
    for uri in ("my data/50%", "./my data/50%/", "~/my data/50%", f"file://{tmp_path}/my%20data/50%25",
                f"file://localhost{tmp_path}/my%20data/50%25/", f"{tmp_path}/x/../my data/50%"):  # fmt: skip
        store = open_store(uri)
        assert store.uri == f"{tmp_path}/my data/50%"
        assert [info.key for _, info in find_inputs(uri)] == ["a.txt"]
        assert store.get("a.txt") == b"1"
    for uri in (
        "*/*/a.txt",
        "my data/**",
        "~/my*/50%/*",
        f"file://{tmp_path}/*/50%25/a.tx?",
        f"{tmp_path}/**/a.txt",
    ):
        [(store, info)] = find_inputs(uri)
        assert store.uri_of(info.key) == f"{tmp_path}/my data/50%/a.txt"
    top, _, below = str(tmp_path).removeprefix("/").partition("/")
    [(store, info)] = find_inputs(f"/{top[:-1]}?/{below}/my data/50%/a.txt")
    assert store.uri_of(info.key) == f"{tmp_path}/my data/50%/a.txt"
    monkeypatch.chdir("/var")
    assert LocalStore("/").uri_of("a") == "/a"
    assert next(LocalStore("/").list("proc/self/status"), None) is None  # /proc/self is a link
    assert LocalStore("/").get_range("proc/self/status", 0, 5) == b"Name:"


def test_a_glob_enters_only_the_folders_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LocalStore(tmp_path).put("a/b/c/deep.txt", b"")
    LocalStore(tmp_path).put("a/b.txt", b"")
    visited = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: visited.append(str(path)) or scan(path))
    assert [info.key for _, info in find_inputs(f"{tmp_path}/*/*.txt")] == ["a/b.txt"]
    assert visited == [str(tmp_path), str(tmp_path / "a")]
    visited.clear()
    assert [info.key for _, info in find_inputs(f"{tmp_path}/*/b*")] == ["a/b.txt"]
    assert visited == [str(tmp_path), str(tmp_path / "a")]
    visited.clear()
    with pytest.raises(SourceError):
        find_inputs(f"{tmp_path}/?x/b*")
    assert visited == [str(tmp_path)]
    LocalStore(tmp_path).put("a/.git/objects/1", b"")
    visited.clear()
    assert len(find_inputs(str(tmp_path))) == 2
    assert str(tmp_path / "a/.git") not in visited
    assert [info.key for _, info in find_inputs(f"{tmp_path}/**/.git/**")] == ["a/.git/objects/1"]
    visited.clear()
    assert list(LocalStore(tmp_path).list("b")) == []
    assert visited == [str(tmp_path)]
