"""Settings in TOML files, validated by pydantic; messages name the file, the key and near keys."""

import math
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from interpbench.core.errors import InterpBenchError, unknown_name
from interpbench.core.text import shown

MOST = 2**63 - 1  # of every number: what tables' integers hold
MOST_BYTES = 2**20  # of a file of settings


class Settings(BaseModel):
    """Base of all settings: no key beyond those declared, and no change after they are read.

    A number is finite, whole ones fit into a table, and neither truth nor text stands for one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    @field_validator("*", mode="before")
    @classmethod
    def _number_that_fits(cls, value: Any, info: ValidationInfo) -> Any:
        # pydantic takes true for 1, and "3" for 3
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and not {annotation, *typing.get_args(annotation)} & {bool, Any}:
            raise ValueError("true and false are not expected here")
        if isinstance(value, str) and _is_number(annotation):
            raise ValueError("text is not expected here")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError("a finite number is expected")
        if isinstance(value, int) and abs(value) > MOST:
            raise ValueError(f"at most {MOST} is expected")
        return value


Kind = TypeVar("Kind", bound=Settings)


def names(folder: Path) -> list[str]:
    """The bundled settings of a folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def describe(path: Path) -> str:
    """The description in a bundled file."""
    return str(tomllib.loads(path.read_text(encoding="utf-8")).get("description", ""))


def load(
    kind: type[Kind], what: str, name: str, folder: Path, error: type[InterpBenchError]
) -> Kind:
    """Bundled settings by name, or any TOML file by path.

    Parameters:
        kind: the class that they are checked against.
        what: to call them in messages, such as `suite`.
        name: of bundled settings, or a path that ends in `.toml`.
        folder: where the bundled ones are.
        error: the class of the error that is raised.

    Raises:
        UnknownNameError: if none that are bundled have that name.
        InterpBenchError: of class `error`, if the file is missing or not valid; the message names
            the key.
    """
    path = Path(name)
    if path.suffix != ".toml":
        if name not in names(folder):
            raise unknown_name(what, name, names(folder))
        path = folder / f"{name}.toml"
    where = f"{what} file {shown(name)}"
    try:
        values = read(path)
    except OSError as problem:
        raise error(
            f"{where[0].upper()}{where[1:]} cannot be read: {problem.strerror}."
        ) from problem
    except ValueError as problem:
        raise error(f"{where[0].upper()}{where[1:]} is no valid TOML: {problem}.") from problem
    return validate(kind, values, where, error)


def read(path: Path) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no TOML, or more or deeper than settings are.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def validate(
    kind: type[Kind], values: Mapping[str, Any], where: str, error: type[InterpBenchError]
) -> Kind:
    """The values as settings; raises an error of class `error` that names the key."""
    try:
        return kind.model_validate(values)
    except ValidationError as invalid:
        problem = invalid.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            allowed = _keys(kind, problem["loc"][:-1])
            raise error(f"In {where}: {unknown_name('key', key, allowed)}") from None
        raise error(
            f"In {where}: key {shown(key)}: {problem['msg']} (got {shown(problem['input'])})."
        ) from None


def _is_number(annotation: Any) -> bool:
    """Whether a field takes nothing but numbers, or None."""
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        return _is_number(parts[0])
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        return all(part is type(None) or _is_number(part) for part in parts)
    return annotation in (int, float)


def _keys(kind: type[Settings], location: tuple[int | str, ...]) -> list[str]:
    """The keys, written out in full, that the section at `location` may have."""
    for section in location:
        kind = kind.model_fields[str(section)].annotation  # type: ignore[assignment]
    return [".".join(map(str, (*location, key))) for key in kind.model_fields]
