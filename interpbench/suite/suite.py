"""A suite: a named, versioned, frozen selection of data, models, methods, metrics and a seed.

It is a TOML file.

Flags win over the suite file, the suite file over the defaults written here.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt, field_validator

from interpbench.core.errors import SuiteError
from interpbench.files import toml_settings as settings
from interpbench.files.names import is_folder_name
from interpbench.files.toml_settings import Settings
from interpbench.suite.protocol import Target

FOLDER = Path(__file__).parent / "bundled"
DEFAULT = "quick"


class Suite(Settings):
    """What a suite file may say.

    Plugins are written as on the command line: `occlusion:window=16,stride=8`.

    Attributes:
        name: of the suite, and of folders that are called after it; so it can be one's.
        version, description: of the suite.
        dataset, models, methods, metrics: which plugins; `all` means all that apply.
        images: how many, class-balanced; None for all.
        steps: of every curve metric; None for the image's width in positions a step.
        ceiling: patches a side, 2 to 16, of the search for the ceilings of curve metrics, or
            `none`.
        target: explain the class that the model predicts, or the true label.
        seed: of every random choice.
    """

    name: str
    version: PositiveInt = 1
    description: str = ""
    dataset: str
    models: tuple[str, ...]
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    images: PositiveInt | None = None
    steps: PositiveInt | None = None
    ceiling: int | Literal["none"] = 6
    target: Target = "predicted"
    seed: NonNegativeInt = 0

    @field_validator("name")
    @classmethod
    def _folder(cls, value: str) -> str:
        if not is_folder_name(value):
            raise ValueError(
                "a name that can be a folder's is expected: up to 64 letters, digits, dashes, "
                "underscores, and spaces and dots within"
            )
        return value

    @field_validator("version", "images", "steps", "seed", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if isinstance(value, bool | str):  # pydantic would take true for 1
            raise ValueError("a whole number is expected")
        return value

    @field_validator("ceiling", mode="before")
    @classmethod
    def _patches(cls, value: Any) -> Any:
        if value != "none" and (type(value) is not int or not 2 <= value <= 16):
            raise ValueError("a whole number from 2 to 16, or `none`, is expected")
        return value

    @field_validator("models", "methods", "metrics", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f'a list is expected, such as ["{value}"]')
        return value

    @property
    def hash(self) -> str:
        """The first 12 hexadecimal digits of the selection's sha256."""
        return _digits(self.model_dump())

    @property
    def frame(self) -> str:
        """A hash, as `hash`, of what any two methods of it are compared on.

        Everything but the methods themselves, and which of its models and metrics were run.
        """
        return _digits(self.model_dump(exclude={"methods", "models", "metrics", "description"}))

    def changed(self, values: Mapping[str, Any]) -> "Suite":
        """This suite with other values where they are not None.

        Raises:
            SuiteError: if a value is not valid; the message names the key.
        """
        given = {key: value for key, value in values.items() if value is not None}
        return settings.validate(Suite, self.model_dump() | given, "settings", SuiteError)


def _digits(values: Mapping[str, Any]) -> str:
    """The first 12 hexadecimal digits of the sha256 of a suite's settings."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def suite_names() -> list[str]:
    """The bundled suites."""
    return settings.names(FOLDER)


def load_suite(name: str) -> Suite:
    """A bundled suite by name, or any TOML file by path.

    Raises:
        UnknownNameError: if no bundled suite has that name.
        SuiteError: if the file is missing or not valid; the message names the key.
    """
    return settings.load(Suite, "suite", name, FOLDER, SuiteError)
