"""One of: a part of a job that names one thing of a registry; what stands below the name is described by that thing itself.

`verify: {length: {at_least: 3}}` names the check `length`, whose class says in `Config` what may be set. Only the classes that
a job names are imported.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

from pydantic import (
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails

from raygen.config.base import Frozen, the_one
from raygen.registry import PLACE, Registry


class OneOf(Frozen):
    """A mapping with exactly one key of a registry, beside the fields that a subclass has."""

    # The registry's keys are pydantic's "extra" ones: `_described` refuses all others by name.
    model_config = ConfigDict(extra="allow")

    registry: ClassVar[Registry]

    @classmethod
    def keys(cls) -> list[str]:
        """Return all keys that it may have, but for those that name a class in full."""
        return [*cls.model_fields, *cls.registry.names()]

    @classmethod
    def description(cls, key: str) -> Any:
        """Return the type that describes what stands below a key of the registry. Raises ValueError."""
        return cls.registry.load(key).Config

    @model_validator(mode="before")
    @classmethod
    def _described(cls, given: Any) -> Any:
        """Let each key's class read what stands below it."""
        if not isinstance(given, dict):
            return given
        read: dict[Any, Any] = {}
        for key, value in given.items():
            if key in cls.model_fields or not isinstance(key, str):
                read[key] = value
            elif key not in cls.registry and not PLACE.fullmatch(key):
                unknown = InitErrorDetails(type="extra_forbidden", loc=(key,), input=value)
                raise ValidationError.from_exception_data(cls.__name__, [unknown])
            elif value is not None:
                # As a mapping: so errors name the key.
                read |= _reader(cls.registry.load(key)).validate_python({key: value})
        return read

    @model_validator(mode="after")
    def _one(self) -> OneOf:
        given = self.__pydantic_extra__ or {}
        if len(given) != 1:  # only then are all names looked up, other packages' too
            names = self.registry.names()
            the_one(sorted(given, key=lambda key: [*names, key].index(key)), names)
        return self

    @property
    def chosen(self) -> str:
        """The key that is given."""
        return next(iter(self.__pydantic_extra__ or {}))

    @property
    def config(self) -> Any:
        """What stands below the key, as its class describes it."""
        return (self.__pydantic_extra__ or {})[self.chosen]

    @property
    def kind(self) -> Any:
        """The class that the key names."""
        return self.registry.load(self.chosen)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the registry's keys like fields of which all but one are left out."""
        fields: dict[str, Any] = {name: (field.annotation, field) for name, field in cls.model_fields.items()}
        for name in cls.registry.names():
            inner = cls.description(name)
            said = FieldInfo.from_annotation(inner).description
            fields[name] = (inner | None, Field(None, description=said))
        whole = create_model(cls.__name__, __doc__=cls.__doc__, __base__=Frozen, **fields)
        found = handler.resolve_ref_schema(handler(whole.__pydantic_core_schema__))
        return {**found, "patternProperties": {f"^{PLACE.pattern}$": {}}}


@functools.cache
def _reader(kind: Any) -> TypeAdapter[dict[str, Any]]:
    """Return what reads the description of a class. Raises ValueError: it has none that can be read."""
    try:
        return TypeAdapter(dict[str, kind.Config])
    except PydanticUserError as error:
        raise ValueError(f"{kind.__module__}.{kind.__qualname__}.Config: {error.message}") from None
