"""Settings in TOML files, validated by pydantic; messages name the file, the key and near keys."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from interpbench.core.errors import InterpBenchError, unknown_name


class Settings(BaseModel):
    """Base of all settings: no key beyond those declared, and no change after they are read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


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
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise error(
            f"{what.capitalize()} file {name!r} cannot be read: {problem.strerror}."
        ) from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise error(f"{what.capitalize()} file {name!r} is no valid TOML: {problem}.") from problem
    return validate(kind, values, f"{what} file {name!r}", error)


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
            f"In {where}: key {key!r}: {problem['msg']} (got {problem['input']!r})."
        ) from None


def _keys(kind: type[Settings], location: tuple[int | str, ...]) -> list[str]:
    """The keys, written out in full, that the section at `location` may have."""
    for section in location:
        kind = kind.model_fields[str(section)].annotation  # type: ignore[assignment]
    return [".".join(map(str, (*location, key))) for key in kind.model_fields]
