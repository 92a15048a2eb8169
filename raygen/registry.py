"""Registry: the things of one kind (engines, steps, checks, formats, ...) by name, raygen's own and other packages'.

raygen's own are lines `name: "module:Class"`. Another package offers its own by an entry point of the registry's group, or
is named in full where it is used: `engine: "their_package.module:Class"`. Nothing is imported before it is used.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

PLACE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Registry:
    """Classes by name.

    Args:
        noun: what they are, for errors: `engine`.
        group: the entry-point group in which other packages offer theirs: `raygen.engines`.
        own: raygen's: name -> `module:Class`.
        kind: the class that they have to be subclasses of, as `module:Class`; None: no class is asked for.
    """

    def __init__(self, noun: str, group: str, own: Mapping[str, str], kind: str | None = None) -> None:
        self.noun, self.group, self.own, self.kind = noun, group, own, kind
        self.nouns = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"

    @cached_property
    def _offered(self) -> dict[str, list[EntryPoint]]:
        """What other packages offer, by name; a name of raygen's own stays raygen's."""
        found: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=self.group):
            if entry.name not in self.own:
                found.setdefault(entry.name, []).append(entry)
        return found

    def names(self) -> list[str]:
        """Return all names, raygen's own first."""
        return [*self.own, *sorted(self._offered)]

    def __contains__(self, name: str) -> bool:
        return name in self.own or name in self._offered

    def load(self, name: str) -> Any:
        """Import what a name stands for.

        Args:
            name: one of `names()`, or `module:Class`, importable from the current directory or the Python path.

        Raises:
            ValueError: nothing of that name, or it cannot be imported, is of another kind, or
                leaves out what its kind asks for; says what there is, or what is missing.
        """
        if name in self.own:
            return _own(self.own[name])
        if PLACE.fullmatch(name):
            return self._fits(name, imported(name, f"{self.noun} {name!r}"))
        offered = self._offered.get(name, [])
        if not offered:
            raise ValueError(f"no {self.noun} {name!r}; {self.nouns}: {', '.join(self.names())}")
        if len({entry.value for entry in offered}) > 1:
            packages = ", ".join(sorted(entry.value for entry in offered))
            raise ValueError(
                f"{self.noun} {name!r}: offered by several packages ({packages}); name one of these"
            )
        return self._fits(name, imported(offered[0].value, f"{self.noun} {name!r}"))

    def _fits(self, name: str, found: Any) -> Any:
        if self.kind is not None:
            kind = _own(self.kind)
            if not (isinstance(found, type) and issubclass(found, kind)):
                raise ValueError(f"{self.noun} {name!r}: not a subclass of {self.kind.replace(':', '.')}")
            if lacking := _lacking(found):
                raise ValueError(f"{self.noun} {name!r}: it has no {' and no '.join(lacking)}")
        return found


def _lacking(found: type) -> list[str]:
    """Return what a class leaves out that its kind asks for: abstract methods, and class variables without a value."""
    methods: set[str] = set(getattr(found, "__abstractmethods__", ()))
    variables = {
        name
        for base in found.__mro__
        for name, kind in vars(base).get("__annotations__", {}).items()
        if str(kind).startswith(("ClassVar", "typing.ClassVar")) and not hasattr(found, name)
    }
    return [f"`{name}`" for name in sorted(methods | variables)]


def _own(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def imported(place: str, what: str) -> Any:
    """Import `module:name`, code that is not raygen's and may do anything; also from the current directory.

    Args:
        place: `module:name`.
        what: what it is, for the error.

    Raises:
        ValueError: it cannot be imported.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # last: a file there hides no module of Python's or a package's
    try:
        return _own(place)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what a module does when it is imported is unknown
        where = (
            "; its module has to be in the current directory or on the Python path, where the run starts and where the"
            " engines run"
        )
        advice = where if isinstance(error, ModuleNotFoundError) else ""
        raise ValueError(
            f"{what}: {place!r} cannot be imported: {type(error).__name__}: {error}{advice}"
        ) from None
