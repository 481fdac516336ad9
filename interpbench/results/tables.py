"""The tables of a finished run, as leaderboards, plots and reports receive them.

Labels (of data sets, models, methods, metrics) are unique and ready for display. Frames are sorted
by their labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from interpbench.results.mean_curve import MeanCurves
from interpbench.results.run_info import MetricInfo, ModelRecord
from interpbench.results.score_blocks import ScoreBlock, score_blocks
from interpbench.suite.cells import SCORE_COLUMNS

LEVEL = 0.05  # of significance
ARROWS = {"lower": "↓", "higher": "↑"}


@dataclass(frozen=True, eq=False)
class Example:
    """One image of a run with the maps that methods made of it.

    Attributes:
        image: uint8 [H,W,3], RGB.
        mask: bool [H,W], the true evidence, or None where the data set has none.
        true_class, predicted_class: their names; "" for a true class that is not known.
        maps: method label -> float32 [H,W], higher = more important; a method without a valid map
            is absent.
    """

    dataset: str
    model: str
    sample_id: str
    image: np.ndarray
    true_class: str
    predicted_class: str
    mask: np.ndarray | None
    maps: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class RunTables:
    """Everything that a leaderboard, a plot or a report is made from.

    Attributes:
        scores: one row per image with a valid map: dataset, model, method, parameters (JSON),
            metric, protocol (12 hex digits), sample_id, label, target, tied (share of tied
            positions, 0..1), value. Of a run's folder the texts are categories.
        curves: (dataset, model, metric, method) -> the mean curve over images, of metrics that have
            curves; those of single images stay on disk, see `RunFolder.curves`.
        cells: dataset, model, method, parameters, role ("method" or "control", a map that knows
            nothing of the model), status ("ok" or "failed"), reason ("" if ok), images (number
            given), constant and nonfinite (numbers of images whose map was so), signed (number of
            the other images, whose map holds a negative value; missing where nobody counted).
        timings: dataset, model, method, attribution_seconds, scoring_seconds, images, peak_memory
            (bytes; missing where it was not measured), of searches for ceilings too.
        metrics: metric label -> what it is.
        models: (dataset, model) -> what was measured of it.
        examples: a few images with their maps.
        seed: of the run; every interval derives its own from it.
        ceilings: as scores, of the best map that a search found for each image and metric; empty
            where none was sought.
        level: of significance after Holm's correction, 0..1.
    """

    scores: pd.DataFrame
    curves: MeanCurves
    cells: pd.DataFrame
    timings: pd.DataFrame
    metrics: Mapping[str, MetricInfo]
    models: Mapping[tuple[str, str], ModelRecord]
    examples: list[Example]
    seed: int
    ceilings: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SCORE_COLUMNS))
    level: float = LEVEL

    @classmethod
    def of_scores(
        cls, scores: pd.DataFrame, metrics: Mapping[str, MetricInfo], seed: int, level: float
    ) -> "RunTables":
        """Scores alone, from which methods can be compared."""
        nothing = pd.DataFrame()
        return cls(scores, {}, nothing, nothing, metrics, {}, [], seed, level=level)

    @cached_property
    def blocks(self) -> list[ScoreBlock]:
        """The scores as arrays, a block for each data set, model and metric, sorted by these."""
        return score_blocks(self.scores)

    def is_untrained(self, dataset: str, model: str) -> bool:
        """Whether a model's weights are random."""
        measured = self.models.get((dataset, model))
        return measured is not None and measured.untrained

    def milliseconds(self) -> pd.Series:
        """Attribution time in ms per image, indexed by (dataset, model, method).

        Only of cells that saw an image.
        """
        timed = self.timings[self.timings["images"] > 0].set_index(["dataset", "model", "method"])
        return 1000 * timed["attribution_seconds"] / timed["images"]

    def accuracy_text(self, dataset: str, model: str) -> str:
        """A model's accuracy and on how many images it was measured."""
        measured = self.models.get((dataset, model))
        if measured is None or measured.accuracy is None or np.isnan(measured.accuracy):
            return "accuracy unknown"
        return f"accuracy {measured.accuracy:.1%} on {measured.accuracy_images:,} images"
