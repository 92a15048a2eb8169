"""The catalog: the models of a service by the names that clients use, and the links to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial

from raygen.config.model import ModelSpec
from raygen.engines import engine_class
from raygen.engines.base import Engine
from raygen.models.resolved import ResolvedModel
from raygen.program.resolve import resolve_model
from raygen.serve.config import ServedModel, ServiceConfig
from raygen.serve.models.link import Link
from raygen.serve.models.local import LocalLink
from raygen.serve.models.program_engine import ProgramEngine
from raygen.serve.tenants.tenant import Tenant
from raygen.wire.base import Served
from raygen.wire.errors import ApiError

MakeLink = Callable[[str, ResolvedModel, ServedModel], Link]


def resolve_served(config: ServiceConfig) -> dict[str, ResolvedModel]:
    """Resolve the references of all models. Raises ModelReferenceError, ConfigError, naming the model's key."""
    return {name: resolve_model(name, model.spec, config.storage) for name, model in config.models.items()}


class Catalog:
    """What a service offers.

    Args:
        links: by the models' names in the configuration.
        programs: engines that run a program, by name.

    A name is a model's (`smol`), one of its adapters (`smol:pirate`), or a program's (`program:math`).
    """

    def __init__(self, links: Mapping[str, Link], programs: Mapping[str, Engine] | None = None) -> None:
        self.links = links
        self.programs = dict(programs or {})
        self._since_s = int(time.time())

    @classmethod
    def of(
        cls,
        config: ServiceConfig,
        make: MakeLink | None = None,
        models: Mapping[str, ResolvedModel] | None = None,
    ) -> Catalog:
        """Make a link to each model, resolved here unless they are given; nothing is loaded yet. Raises UserError.

        Args:
            make: a link of a model; in this process if it is not given.
        """
        make = make or partial(LocalLink, storage=config.storage)
        models = resolve_served(config) if models is None else models
        links = {name: make(name, model, config.models[name]) for name, model in models.items()}
        engines = {name: link.engine for name, link in links.items()}
        programs = {
            name: ProgramEngine(name, program, engines, models) for name, program in config.programs.items()
        }
        return cls(links, programs)

    def find(self, name: str, tenant: Tenant) -> Served:
        """Return the model of a name. Raises ApiError 404 `model_not_found`, naming those that the tenant may use."""
        found = self._served(name) if tenant.may_use(name) else None
        if found is None:
            there = ", ".join(each.name for each in self.listed(tenant)) or "none"
            shown = name if len(name) <= 100 else f"{name[:97]}..."
            raise ApiError(
                404, "model_not_found", f"there is no model {shown!r} here; models: {there}", "model"
            )
        return found

    @cached_property
    def nobody(self) -> Served:
        """What stands for the model of a request that asks none."""
        spec = ModelSpec(family="causal_lm", engine="echo")
        model = ResolvedModel("-", spec, None, "-")
        return Served("-", engine_class("echo")(model), model)

    def listed(self, tenant: Tenant) -> list[Served]:
        """Return all that a tenant may use, in the order of the configuration, each model before its adapters."""
        return [served for served in self._all() if tenant.may_use(served.name)]

    def _all(self) -> Iterator[Served]:
        for name, link in self.links.items():
            yield Served(name, link.engine, link.model, None, self._since_s)
            for adapter in sorted(link.adapters):
                yield Served(f"{name}:{adapter}", link.engine, link.model, adapter, self._since_s)
        for name, engine in self.programs.items():
            yield Served(f"program:{name}", engine, engine.model, None, self._since_s)

    def _served(self, name: str) -> Served | None:
        if name in self.links:
            link = self.links[name]
            return Served(name, link.engine, link.model, None, self._since_s)
        base, _, rest = name.partition(":")
        if base == "program" and rest in self.programs:
            engine = self.programs[rest]
            return Served(name, engine, engine.model, None, self._since_s)
        if base in self.links and rest in self.links[base].adapters:
            link = self.links[base]
            return Served(name, link.engine, link.model, rest, self._since_s)
        return None

    async def start(self) -> None:
        """Make all models ready, side by side. Raises EngineError."""
        await asyncio.gather(*(link.start() for link in self.links.values()))

    async def close(self, grace_s: float) -> None:
        """End all links; answers under way get this long."""
        await asyncio.gather(*(link.close(grace_s) for link in self.links.values()))
