"""What both `explain` and `gallery` work with."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from interpbench.attribution.explainer import Explainer
from interpbench.core.progress import SILENT, Progress
from interpbench.drawing.overlay import Look
from interpbench.files.output_folder import OutputFolder
from interpbench.loading.chosen_weights import RANDOM
from interpbench.studies.pictures.panels import Map


@dataclass(frozen=True, eq=False)
class PictureJob:
    """Maps of a model's images, drawn into a folder.

    Attributes:
        explainer: makes the maps.
        folder: where pictures go.
        looks: how maps are drawn; a gallery has one way.
        progress: told which method has explained how many images more.
    """

    explainer: Explainer
    folder: OutputFolder
    looks: Sequence[Look]
    progress: Progress = SILENT

    @property
    def model_text(self) -> str:
        """The model, and that it is untrained where it is."""
        card, label = self.explainer.model.card, self.explainer.explained.choice.label
        return (
            f"{label}, RANDOM WEIGHTS"
            if card.weights == RANDOM
            else f"{label} trained on {card.dataset}"
        )

    def maps(self, label: str, images: Tensor, target: Tensor, ids: Sequence[str]) -> list[Map]:
        """The method's map of each image, None for each if the method fails."""
        self.progress.advance(label)
        maps = self.explainer.maps(label, images, target, ids)
        self.progress.advance(label, len(ids))
        return [None] * len(ids) if maps is None else list(maps)
