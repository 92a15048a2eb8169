"""Adapters that come and go: the store knows them, services that share it agree, and one that is broken keeps none away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from raygen.errors import RowError, StorageError
from raygen.serve.models import adapters as module
from raygen.serve.models.adapters import Adapters
from raygen.storage import LocalStore, Store
from raygen.wire.errors import ApiError


class Link:
    """A model that holds names, and refuses the references that are listed."""

    def __init__(self, refuses: frozenset[str] = frozenset()) -> None:
        self.adapters: dict[str, str] = {"fixed": "./fixed"}
        self.refuses = refuses

    async def load_adapter(self, name: str, ref: str) -> None:
        if ref in self.refuses:
            raise RowError("bad_adapter", "it says /root/secret", public="it is broken")
        self.adapters[name] = ref

    async def drop_adapter(self, name: str) -> None:
        del self.adapters[name]


class Away(LocalStore):
    """A store that takes nothing while it is away."""

    away = False

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if self.away:
            raise StorageError("away")
        return super().put_if_absent(key, data)


def adapters_of(store: Store, **links: Link) -> Adapters:
    return Adapters(store, SimpleNamespace(links=links))  # type: ignore[arg-type]


def followed(adapters: Adapters, link: Link) -> Mapping[str, str]:
    """What a model holds after one look at the store."""
    asyncio.run(adapters.look())
    return link.adapters


def refused(work) -> ApiError:
    with pytest.raises(ApiError) as caught:
        asyncio.run(work)
    return caught.value


def test_another_service_holds_what_the_last_word_says(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    here = adapters_of(store, smol=Link())
    asyncio.run(here.load("smol", "pirate", "./one"))
    asyncio.run(here.load("smol", "poet", "./poet"))
    asyncio.run(here.drop("smol", "pirate"))
    asyncio.run(here.load("smol", "pirate", "./two"))
    asyncio.run(here.drop("smol", "poet"))
    link = Link()
    assert followed(adapters_of(store, smol=link), link) == {"fixed": "./fixed", "pirate": "./two"}


def test_one_that_cannot_be_loaded_any_more_keeps_no_other_away(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    here = adapters_of(store, smol=Link())
    for name in ("a", "b", "c"):
        asyncio.run(here.load("smol", name, f"./{name}"))
    link = Link(refuses=frozenset({"./a"}))
    assert set(followed(adapters_of(store, smol=link), link)) == {"fixed", "b", "c"}


def test_what_else_lies_in_the_store_is_no_adapter(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("adapters/README", b"hello")
    asyncio.run(adapters_of(store, smol=Link()).load("smol", "pirate", "./one"))
    link = Link()
    assert "pirate" in followed(adapters_of(store, smol=link), link)


def test_one_that_could_not_be_written_down_is_not_held(tmp_path: Path) -> None:
    store, link = Away(tmp_path), Link()
    here = adapters_of(store, smol=link)
    store.away = True
    with pytest.raises(StorageError):
        asyncio.run(here.load("smol", "pirate", "./one"))
    assert "pirate" not in link.adapters
    store.away = False
    asyncio.run(here.load("smol", "pirate", "./one"))  # the client's retry is not told that it is done
    other = Link()
    assert "pirate" in followed(adapters_of(store, smol=other), other)


def test_a_refusal_says_what_is_for_people(tmp_path: Path) -> None:
    link = Link(refuses=frozenset({"./bad"}))
    here = adapters_of(LocalStore(tmp_path), smol=link)
    error = refused(here.load("smol", "pirate", "./bad"))
    assert (error.status, error.code, error.message) == (400, "adapter_not_loaded", "it is broken")
    asyncio.run(here.load("smol", "pirate", "./good"))
    assert refused(here.load("smol", "pirate", "./other")).code == "adapter_exists"
    assert refused(here.load("smol", "../x", "./good")).code == "invalid_value"
    assert refused(here.load("gpt", "x", "./good")).code == "model_not_found"
    assert refused(here.drop("smol", "nobody")).code == "adapter_not_found"
    assert refused(here.drop("smol", "fixed")).code == "adapter_configured"


def test_a_look_that_fails_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    store, link = LocalStore(tmp_path), Link()
    asyncio.run(adapters_of(store, smol=Link()).load("smol", "pirate", "./one"))
    there = adapters_of(store, smol=link)
    known, looks = there._known, []

    def once_away():
        looks.append(1)
        if len(looks) == 1:
            raise StorageError("away")
        return known()

    monkeypatch.setattr(there, "_known", once_away)

    async def wait() -> None:
        there.start()
        while "pirate" not in link.adapters:
            await asyncio.sleep(0.005)
        there.close()

    asyncio.run(asyncio.wait_for(wait(), 5))
