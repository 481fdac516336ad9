"""The unfinished training on disk.

It is written after each epoch, read by --resume, and removed at the end.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from interpbench.core.errors import TrainingError
from interpbench.files.atomic import write_atomically


@dataclass(frozen=True)
class Checkpoint:
    """The file of an unfinished training.

    Attributes:
        path: beside the weights that it will become.
        identity: what must be the same for a training to be continued: model, data, recipe, and
            the weights it started from, if there were any.
    """

    path: Path
    identity: dict[str, str]

    @classmethod
    def beside(cls, output: Path, identity: dict[str, str]) -> "Checkpoint":
        """That of the training that will write `output`."""
        return cls(unfinished(output), identity)

    def save(self, state: dict[str, Any]) -> None:
        """Writes the state atomically.

        A killed process leaves the last epoch's file or this one's.
        """
        saved = {"identity": self.identity, "state": state}
        write_atomically(self.path, lambda partial: torch.save(saved, partial))

    def load(self) -> dict[str, Any]:
        """The state that was saved; code in the file is not executed.

        Raises:
            TrainingError: if there is none, or it is of another training.
        """
        if not self.path.is_file():
            raise TrainingError(
                f"There is no unfinished training {self.path} to resume. Start it without --resume."
            )
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            identity, state = saved["identity"], saved["state"]
        except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
            raise TrainingError(
                f"{self.path} is no unfinished training, or a damaged one "
                f"({type(error).__name__}). Start afresh with --overwrite."
            ) from None
        differing = sorted(
            key
            for key in identity.keys() | self.identity.keys()
            if identity.get(key) != self.identity.get(key)
        )
        if differing:
            raise TrainingError(
                f"{self.path} is the unfinished training of another {' and '.join(differing)}. "
                "Resume with the command that began it, or start afresh with --overwrite."
            )
        return state

    def remove(self) -> None:
        """The training is finished, or starts afresh."""
        self.path.unlink(missing_ok=True)


def unfinished(output: Path) -> Path:
    """Where a training that will write `output` keeps its checkpoint."""
    return output.with_name(f"{output.name}.unfinished")
