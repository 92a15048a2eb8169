"""LocalStore: a directory. What it returns True for survives a power failure."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from raygen.errors import AccessError, ConfigError, KeyNotFoundError, StorageError, UnknownResultError
from raygen.storage.base import BUFFER_BYTES, ObjectInfo, Store, check_key, pieces_of

TEMPORARY = ".tmp-"  # how the names of half-written files start; `list` never shows them


class LocalStore(Store):
    """A directory. Made on the first write; listing never follows a symbolic link out of it."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(os.path.abspath(os.path.expanduser(path)))
        self.root = Path(self.uri)

    def path_of(self, key: str) -> Path:
        """Return the path of an object. Raises ConfigError for a key that leaves the directory."""
        if "//" in key:
            raise ConfigError(f"key {key!r}: no empty parts in a local key; write {re.sub('/+', '/', key)!r}")
        return self.root / check_key(key)

    def child(self, prefix: str) -> LocalStore:
        return LocalStore(self.path_of(prefix.rstrip("/")))

    def parent(self) -> LocalStore:
        return LocalStore(self.root.parent)

    def stat(self, key: str) -> ObjectInfo:
        path = self.path_of(key)
        with _reading(path):
            return _info(key, path, os.stat(path))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self.walk(prefix, lambda folder: True)

    def walk(self, prefix: str, enter: Callable[[str], bool]) -> Iterator[ObjectInfo]:
        """List, leaving out what is below a folder whose key `enter` says no to."""
        folder, _, start = prefix.rpartition("/")
        path = self.path_of(folder) if folder else self.root
        if os.path.realpath(path) == os.path.normpath(os.path.join(os.path.realpath(self.root), folder)):
            yield from self._walk(path, f"{folder}/" if folder else "", start, enter)
        # Else it is behind a symbolic link, where the listing of a shorter prefix does not go either.

    def leftovers(self) -> Iterator[ObjectInfo]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                if name.startswith((TEMPORARY, ".probe-")):
                    path = Path(folder, name)
                    with contextlib.suppress(FileNotFoundError):
                        yield _info(path.relative_to(self.root).as_posix(), path, os.stat(path))

    def _walk(
        self, folder: Path, prefix: str, start: str, enter: Callable[[str], bool]
    ) -> Iterator[ObjectInfo]:
        try:
            with _reading(folder), os.scandir(folder) as found:
                entries = [entry for entry in found if entry.name.startswith(start)]
        except KeyNotFoundError:
            return
        # A directory sorts as what its keys start with, so that keys come out in order.
        for name, entry in sorted((e.name + "/" * e.is_dir(follow_symlinks=False), e) for e in entries):
            if name.endswith("/"):
                if enter(prefix + entry.name):
                    yield from self._walk(folder / entry.name, prefix + name, "", enter)
            elif not name.startswith(TEMPORARY) and (not entry.is_symlink() or self._holds(entry.path)):
                with contextlib.suppress(KeyNotFoundError):  # removed meanwhile, or not a file
                    with _reading(Path(entry.path)):
                        yield _info(prefix + name, Path(entry.path), entry.stat())

    def _holds(self, path: str) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.root))

    def get(self, key: str) -> bytes:
        with self.open(key) as file, _reading(self.path_of(key)):
            return file.read()

    def get_range(self, key: str, start: int, stop: int) -> bytes:
        with self.open(key) as file, _reading(self.path_of(key)):
            file.seek(start)
            return file.read(stop - start)

    def open(self, key: str) -> BinaryIO:
        path = self.path_of(key)
        with _reading(path):
            # Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                _info(key, path, os.fstat(descriptor))
                return open(descriptor, "rb", buffering=BUFFER_BYTES)
            except BaseException:
                os.close(descriptor)
                raise

    def put(self, key: str, data: bytes) -> None:
        self._put(key, [data])

    def put_file(self, key: str, file: BinaryIO, sha256: str) -> None:
        self._put(key, pieces_of(file, sha256))

    def _put(self, key: str, pieces: Iterable[bytes]) -> None:
        path = self.path_of(key)
        with _writing(path), _temporary(self.root, path, pieces) as temporary:
            os.replace(temporary, path)
            _sync_folder(path.parent)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        path = self.path_of(key)
        with _writing(path), _temporary(self.root, path, [data]) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise StorageError(f"{path.parent}: this file system has no hard links") from error
                raise
            _sync_folder(path.parent)
            return True

    def delete(self, key: str) -> None:
        path = self.path_of(key)
        with contextlib.suppress(KeyNotFoundError), _reading(path, "remove"):
            path.unlink()


def _info(key: str, path: Path, status: os.stat_result) -> ObjectInfo:
    if not stat.S_ISREG(status.st_mode):
        raise KeyNotFoundError(f"{path}: not a file")
    return ObjectInfo(key, status.st_size, status.st_mtime, f"{status.st_size}-{status.st_mtime_ns}")


def _refused(action: str, path: Path, error: OSError) -> Exception:
    message = f"cannot {action} {path}: {os.strerror(error.errno) if error.errno else error}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessError(f"{message}; check owner and permissions")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return AccessError(f"{message}; a file stands where a directory has to be")
    return StorageError(message)


@contextlib.contextmanager
def _reading(path: Path, action: str = "read") -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise KeyNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise _refused(action, path, error) from error


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused("write", path, error) from error


@contextlib.contextmanager
def _temporary(root: Path, target: Path, pieces: Iterable[bytes]) -> Iterator[Path]:
    """Write `pieces` to a new file, on disk when it is given out; remove what is left.

    It lies at the top of the store, so that a killed writer leaves nothing among what others list by themselves, such as
    commits; beside its target where a new name can only be given there.
    """
    _make_folder(target.parent)
    folder = root if _can_move(root, target.parent) else target.parent
    temporary = folder / f"{TEMPORARY}{uuid.uuid4().hex}"
    try:
        with open(temporary, "xb") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _can_move(root: Path, folder: Path) -> bool:
    """Whether a file that is written in `root` can get a name in `folder`: not from another disk, nor where one may not write."""
    return os.stat(root).st_dev == os.stat(folder).st_dev and os.access(root, os.W_OK | os.X_OK)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a power failure: fsync of a file alone does not keep its directory entry.

    Raises UnknownResultError: the name is there, perhaps not for long.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EACCES):  # not done here; a folder one may not list
            message = f"cannot make the new name durable in {folder}: {error.strerror}"
            raise UnknownResultError(message) from error
