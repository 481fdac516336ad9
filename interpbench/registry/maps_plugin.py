"""Maps that were made elsewhere, as a method: `maps:DIR`, or one with a name of its own.

What it reads is found before a run (`loading/maps_as_methods.py`); until then it explains nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from interpbench.core.errors import MethodError
from interpbench.core.types import Model
from interpbench.registry.plugin import MADE_ELSEWHERE, REQUIRED, MethodPlugin, Parameter

MAPS = "maps"  # what it is called where a user writes it as a method
HUGGING_FACE = "hf:"  # begins what a data set of the library `datasets` is called


@dataclass(frozen=True)
class MapsPlugin(MethodPlugin):
    """A method whose maps lie in files; its source is their content."""

    can_be_asked_again: ClassVar[bool] = False


def maps_plugin(name: str = MAPS, root: str | None = None) -> MapsPlugin:
    """The method whose maps lie in a folder, an archive or a data set, which is not opened yet.

    Parameters:
        name: what it is called.
        root: which; None leaves it to the user as a parameter.
    """

    def unopened(model: Model, x: Tensor, target: Tensor, **values: Any) -> Tensor:
        raise MethodError(
            "has maps of a run's samples alone, which `run` looks for before it starts: only "
            "`run` and `run --plan` take it. Leave it out here."
        )

    return MapsPlugin(
        name=name,
        call=unopened,
        parameters=(Parameter("root", str, REQUIRED if root is None else root),),
        doc="Maps that were made elsewhere, from files or a data set, found by the samples' ids.",
        reference="",
        licence="",
        origin=MADE_ELSEWHERE if root is None else origin_of(root),
        source_hash="",
        takes=frozenset({"ids"}),
        gradients=False,
        coarse=True,
    )


def origin_of(root: str) -> str:
    """Where a method's maps come from, as a record says it."""
    return MADE_ELSEWHERE + (root if root.startswith(HUGGING_FACE) else str(Path(root).absolute()))
