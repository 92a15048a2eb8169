"""Inputs: what a source's URIs name, listed with short names, pinned, and opened again unchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from raygen.config.base import is_unicode
from raygen.config.source import Source, StorageOptions
from raygen.data.sources.base import InputFile, Range
from raygen.errors import KeyNotFoundError, SourceError
from raygen.storage import ObjectInfo, Store, digest_input, find_inputs, split_uri

File = TypeVar("File")


@dataclass(frozen=True, slots=True)
class Found:
    """One listed input. `name` is its path below what all inputs have in common, unique in the source."""

    store: Store
    info: ObjectInfo
    name: str

    @property
    def uri(self) -> str:
        return self.store.uri_of(self.info.key)

    def pin(self, digest: str | None = None) -> InputFile:
        """Pin the content; pass a digest that is known already. Raises SourceError: changed since listed."""
        if digest is None:
            digest = digest_input(self.store, self.info)
        return InputFile(self.uri, self.name, self.info.size_bytes, digest, self.info.version)


def list_inputs(source: Source) -> list[Found]:
    """List what the source's URIs name: in the order of the URIs, and of the keys within each.

    Raises:
        SourceError: nothing matches, an object is named twice, or a name is not Unicode.
        AccessError: bucket, credentials or permissions.
    """
    listed: list[tuple[Store, ObjectInfo]] = []
    bases = []
    for uri in source.uris:
        found = find_inputs(uri, source.storage)
        store, first = found[0]
        # The base of a single object is its folder; of a folder or glob it is what was listed.
        bases.append(uri.rpartition("/")[0] if store.uri_of(first.key) == uri else store.uri)
        listed.extend(found)
    base_length = _common_length(bases)
    inputs = []
    seen: set[str] = set()
    for store, info in listed:
        uri = store.uri_of(info.key)
        if uri in seen:
            raise SourceError(
                f"{uri} is named twice by source.uri; its rows would be generated twice: name it once"
            )
        seen.add(uri)
        name = uri[base_length:].removeprefix("/")
        if not is_unicode(name):
            raise SourceError(f"{uri!r}: the name is not UTF-8; rename the file")
        inputs.append(Found(store, info, name))
    return inputs


class Opener:
    """Opens pinned inputs again; one store, and its connections, serve a whole folder or bucket."""

    def __init__(self, options: StorageOptions) -> None:
        self._options = options
        self._stores: dict[str, Store] = {}

    def open(self, pinned: InputFile) -> tuple[Store, str]:
        """Return store and key of an input. Raises SourceError if it is gone or its content has changed."""
        store, key = split_uri(pinned.uri, self._options)
        store = self._stores.setdefault(store.uri, store)
        try:
            info = store.stat(key)
            # A copy or a `touch` changes the version, not the content: only then is the content read again.
            if info.version != pinned.version and (
                info.size_bytes != pinned.size_bytes or digest_input(store, info) != pinned.digest
            ):
                raise changed(pinned.uri)
        except KeyNotFoundError:
            raise SourceError(
                f"input {pinned.uri} is gone since the run was planned; bring it back"
            ) from None
        return store, key


class OpenInput(Generic[File]):
    """The pinned input that ranges are read from: it stays open for as long as the ranges are of the same one.

    Args:
        inputs: as they were pinned.
        options: how to reach S3.
        opening: opens an input: its store, its key, and what was pinned.
    """

    def __init__(
        self,
        inputs: Sequence[InputFile],
        options: StorageOptions,
        opening: Callable[[Store, str, InputFile], AbstractContextManager[File]],
    ) -> None:
        self._inputs = inputs
        self._opener = Opener(options)
        self._opening = opening
        self._stack = ExitStack()
        self._number = -1
        self._file: File

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def of(self, each: Range) -> tuple[InputFile, File]:
        """Return the input of a range, and its file. Raises SourceError if it is gone or its content has changed."""
        pinned = self._inputs[each.file]
        if each.file != self._number:
            self._stack.close()
            self._file = self._stack.enter_context(self._opening(*self._opener.open(pinned), pinned))
            self._number = each.file
        return pinned, self._file


def changed(uri: str) -> SourceError:
    """Return the error for an input that changed after the run was planned."""
    return SourceError(
        f"input {uri} has changed since the run was planned; bring the old one back, or start a new run"
    )


def _common_length(bases: Sequence[str]) -> int:
    """Return the length of the longest leading path that all of `bases` have in common."""
    parts = [base.split("/") for base in bases]
    common = 0
    while all(len(each) > common and each[common] == parts[0][common] for each in parts):
        common += 1
    return len("/".join(parts[0][:common]))
