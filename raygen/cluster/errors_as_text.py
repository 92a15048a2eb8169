"""Errors as text: how an exception travels from one process to another.

Ray would wrap it in a class of its own, and pickle it: neither works for a class that the other process does not have. So it
travels by the names of its classes and by what it says. Where its own class cannot be imported, the nearest base that can
be stands for it: an engine's own `QuotaError(EngineError)` is then an EngineError.
"""

from __future__ import annotations

import builtins
import json
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from raygen.errors import RaygenError, RowError, UnavailableError, storable, told


@dataclass(frozen=True)
class Failure:
    """What was raised in another process, as a value in place of an answer."""

    error: str  # packed

    @classmethod
    def of(cls, error: Exception) -> Failure:
        return cls(pack_error(error))

    def unpacked(self) -> Exception:
        return unpack_error(self.error)


def pack_error(error: Exception) -> str:
    """Return an exception as a text that `unpack_error` makes an exception of, in any process."""
    kinds: list[type] = [kind for kind in type(error).__mro__ if issubclass(kind, RaygenError)]
    if not kinds and type(error).__module__ == "builtins":
        kinds = [type(error)]
    sent: dict[str, Any] = {
        "kinds": [f"{kind.__module__}:{kind.__qualname__}" for kind in kinds],
        "message": _message(error),
        "told": told(error),
    }
    if isinstance(error, RowError):
        sent |= {"code": error.code, "step": error.step}
    if isinstance(error, UnavailableError):
        sent["retry_after_s"] = error.retry_after_s
    return json.dumps(sent)


def unpack_error(text: str) -> Exception:
    """Return the exception that was packed.

    No constructor and no other code of a class from outside raygen is called; its module is imported, if that is possible
    here.

    Returns:
        An instance of the exception's class, or of the nearest base that is known here. A RuntimeError stands for what
        is neither a RaygenError nor one of Python's own exceptions.
    """
    sent = json.loads(text)
    for place in sent["kinds"]:
        found = _raygen_error(place, sent) or _builtin(place, sent["message"])
        if found is not None:
            return found
    return RuntimeError(sent["told"])


def _message(error: Exception) -> str:
    """Return what the exception was raised with; KeyError's own text would be quoted a second time."""
    if isinstance(error, KeyError) and len(error.args) == 1 and isinstance(error.args[0], str):
        return storable(error.args[0])
    try:
        return storable(str(error))
    except Exception:  # noqa: BLE001 - a `__str__` from outside may do anything
        return told(error).partition(": ")[2]


def _raygen_error(place: str, sent: dict[str, Any]) -> RaygenError | None:
    """Return an instance of the class at `module:Name`; None if there is none, or it cannot say the message."""
    module, _, name = place.partition(":")
    try:
        kind: Any = sys.modules.get(module) or import_module(module)
        for part in name.split("."):
            kind = vars(kind)[part]
    except (Exception, SystemExit):  # noqa: BLE001 - what a module does when it is imported is unknown
        return None
    if not (isinstance(kind, type) and issubclass(kind, RaygenError)):
        return None
    error: RaygenError = RaygenError.__new__(kind, sent["message"])
    if isinstance(error, RowError):
        if "code" not in sent:
            return None
        error.code, error.message, error.step = sent["code"], sent["message"], sent["step"]
    if isinstance(error, UnavailableError):
        if "retry_after_s" not in sent:
            return None
        error.message, error.retry_after_s = sent["message"], sent["retry_after_s"]
    try:
        return error if str(error) == sent["message"] else None
    except Exception:  # noqa: BLE001 - a `__str__` that needs what only its own constructor sets
        return None


def _builtin(place: str, message: str) -> Exception | None:
    module, _, name = place.partition(":")
    kind = getattr(builtins, name, None) if module == "builtins" else None
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        return None
    try:
        return kind(message)
    except Exception:  # noqa: BLE001 - UnicodeDecodeError takes more than a message
        return None
