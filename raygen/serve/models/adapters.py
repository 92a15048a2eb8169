"""Adapters that are loaded and dropped while a service runs: which there are stands in the store, so all replicas agree.

`adapters/<model>/<name>/<number>.json` says `{ref}` or, once it is dropped, `{ref: null}`; the highest number counts. Those
of the configuration are not among them: they are always there.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping

from raygen.errors import RaygenError, RowError, UserError
from raygen.serve.models.catalog import Catalog
from raygen.storage import Store
from raygen.storage.create import create_once
from raygen.storage.sealed import read_sealed, seal
from raygen.wire.errors import ApiError

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}")
LOOK_S = 15.0


class Adapters:
    """The adapters of a service beside those of its configuration."""

    def __init__(self, store: Store, catalog: Catalog) -> None:
        self._store, self._catalog = store, catalog
        self._fixed = {name: frozenset(link.adapters) for name, link in catalog.links.items()}
        self._looking: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def start(self) -> None:
        """Load those that the store knows, and follow it from now on."""
        self._looking = asyncio.create_task(self._keep_looking())

    def close(self) -> None:
        """Follow the store no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def load(self, model: str, name: str, ref: str) -> None:
        """Load an adapter, here and then everywhere. Raises ApiError: it is there, or cannot be loaded."""
        self._check(model, name)
        link = self._catalog.links[model]
        async with self._lock:
            if name in link.adapters:
                if link.adapters[name] == ref:
                    return
                raise ApiError(
                    409,
                    "adapter_exists",
                    f"model {model!r} has an adapter {name!r} already; drop it first",
                    "name",
                    {"x-should-retry": "false"},
                )
            try:
                await link.load_adapter(name, ref)
            except (RowError, UserError) as error:
                log.warning("an adapter of model %s was not loaded: %s", model, type(error).__name__)
                said = (
                    error.public or error.message
                    if isinstance(error, RowError)
                    else "the reference gives no LoRA adapter of this model"
                )
                raise ApiError(400, "adapter_not_loaded", said, "ref") from None
            try:
                await asyncio.to_thread(self._note, model, name, ref)
            except BaseException:  # nobody else knows it, nor would this service once it is started again
                await link.drop_adapter(name)
                raise

    async def drop(self, model: str, name: str) -> None:
        """Drop an adapter; answers under way keep it to their end. Raises ApiError 404, 409."""
        self._check(model, name)
        link = self._catalog.links[model]
        async with self._lock:
            if name in self._fixed[model]:
                raise ApiError(
                    409, "adapter_configured", f"{model}:{name} stands in the configuration", "name",
                    {"x-should-retry": "false"},
                )  # fmt: skip
            if name not in link.adapters:
                raise ApiError(404, "adapter_not_found", f"model {model!r} has no adapter {name!r}", "name")
            await asyncio.to_thread(self._note, model, name, None)
            await link.drop_adapter(name)

    def listed(self) -> list[dict[str, object]]:
        """Return all adapters, those of the configuration too."""
        return [
            {"id": f"{model}:{name}", "object": "adapter", "model": model, "name": name, "ref": ref}
            | {"configured": name in self._fixed[model]}
            for model, link in self._catalog.links.items()
            for name, ref in sorted(link.adapters.items())
        ]

    def _check(self, model: str, name: str) -> None:
        if model not in self._catalog.links:
            there = ", ".join(self._catalog.links)
            raise ApiError(
                404, "model_not_found", f"there is no model {model[:100]!r}; models: {there}", "model"
            )
        if not NAME.fullmatch(name):
            raise ApiError(
                400, "invalid_value", "name: letters, digits, `.`, `-` and `_`, at most 64", "name"
            )

    def _note(self, model: str, name: str, ref: str | None) -> None:
        """Write down what is now so, behind all that was written before."""
        data = seal({"ref": ref})
        number = len(list(self._store.list(f"adapters/{model}/{name}/")))
        while True:
            key = f"adapters/{model}/{name}/{number:06d}.json"
            standing = create_once(self._store, key, data, lambda key=key: self._store.get(key))  # type: ignore[misc]
            if standing is None or standing == data:
                return
            number += 1

    def _known(self) -> dict[str, dict[str, str | None]]:
        last: dict[tuple[str, str], str] = {}
        for info in self._store.list("adapters/"):
            parts = info.key.split("/")
            if len(parts) == 4:
                last[parts[1], parts[2]] = info.key
        found: dict[str, dict[str, str | None]] = {}
        for (model, name), key in last.items():
            found.setdefault(model, {})[name] = read_sealed(self._store, key)["ref"]
        return found

    async def look(self) -> None:
        """Hold what the store says now. Raises StorageError."""
        async with self._lock:  # what is written meanwhile would be undone
            known = await asyncio.to_thread(self._known)
            for model, adapters in known.items():
                if model in self._catalog.links:
                    await self._follow(model, adapters)

    async def _keep_looking(self) -> None:
        while True:
            try:
                await self.look()
            except RaygenError as error:
                log.warning("adapters could not be looked up: %s", type(error).__name__)
            await asyncio.sleep(LOOK_S)

    async def _follow(self, model: str, known: Mapping[str, str | None]) -> None:
        link = self._catalog.links[model]
        for name, ref in known.items():
            if name in self._fixed[model] or link.adapters.get(name) == ref:
                continue
            try:
                if name in link.adapters:
                    await link.drop_adapter(name)
                if ref is not None:
                    await link.load_adapter(name, ref)
            except RaygenError as error:  # the others are loaded all the same; the next look tries again
                log.warning("an adapter of model %s was not loaded: %s", model, type(error).__name__)
