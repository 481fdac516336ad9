"""Records: what is known of a thing, as a typed object in Python and as plain JSON on disk."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

# Marks a field whose own fields stand in its place: `made: Annotated[Provenance, INLINE]`.
INLINE = "inline"


class Record(BaseModel):
    """Base of all records: read leniently, written as it was given.

    Leniently, since a file may be of another version. A field that was never given is not written,
    so that a record keeps its bytes when it is read and written again.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    @classmethod
    def complete(cls, **values: Any) -> Self:
        """A record in which the fields that are left out count as given, with their defaults."""
        optional = [item for item in cls.model_fields.items() if not item[1].is_required()]
        return cls(**{name: field.default for name, field in optional} | values)

    @property
    def given(self) -> set[str]:
        """The names of the fields that were given."""
        return self.model_fields_set

    def contents(self) -> dict[str, Any]:
        """The fields that were given, in their order, as plain containers."""
        contents: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if name in self.given:
                value = contents_of(getattr(self, name))
                contents |= value if INLINE in field.metadata else {field.alias or name: value}
        return contents

    def text(self, *, sort_keys: bool = False) -> str:
        """The record as a JSON file."""
        return json.dumps(self.contents(), indent=1, sort_keys=sort_keys, default=str) + "\n"

    def __getitem__(self, name: str) -> Any:
        """A field as its file has it: `info["device"]`; raises KeyError if it was never given."""
        return self.contents()[name]


def contents_of(value: Any) -> Any:
    """Records and containers as what JSON knows; anything else as it is."""
    if isinstance(value, Record):
        return value.contents()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: contents_of(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: contents_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [contents_of(item) for item in value]
    return value


def by_name(value: Any) -> Any:
    """Plain containers with the keys of every mapping sorted."""
    if isinstance(value, dict):
        return {key: by_name(value[key]) for key in sorted(value)}
    return [by_name(item) for item in value] if isinstance(value, list) else value


def first_problem(invalid: ValidationError) -> tuple[str, str, Any]:
    """Of what pydantic finds wrong, the first: the key, the reason, and what was given."""
    problem = invalid.errors()[0]
    return ".".join(map(str, problem["loc"])), problem["msg"], problem["input"]
