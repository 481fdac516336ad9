"""What comes out of running: of a model before its first cell, and of each cell."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from interpbench.results.run_info import CellRecord, ModelRecord
from interpbench.suite.cells import CURVE_COLUMNS, SCORE_COLUMNS


@dataclass(frozen=True, eq=False)
class ModelResult:
    """What a run measured of a model before any method, and the example images.

    Attributes:
        record: what was measured.
        images: uint8 [K,size,size,3] of the examples.
        masks: bool [K,size,size] or None.
        predicted: int64 [N], the greatest logit of each of the record's samples; none in runs of
            before it was kept.
    """

    record: ModelRecord
    images: np.ndarray
    masks: np.ndarray | None
    predicted: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def blocks(self) -> int:
        """How many blocks its images are cut into."""
        return len(self.record.pixels_of_blocks)

    @property
    def decides(self) -> bool:
        """Whether a run can go on from it, without measuring the model again."""
        record = self.record
        return bool(record.pixels_of_blocks) and len(self.predicted) == len(record.sample_ids)


@dataclass(frozen=True, eq=False)
class CellResult:
    """A finished cell.

    Attributes:
        record: what became of it.
        scores, curves: rows with SCORE_COLUMNS and CURVE_COLUMNS.
        maps: sample id -> float32 [H,W], of the example images.
    """

    record: CellRecord
    scores: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SCORE_COLUMNS))
    curves: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=CURVE_COLUMNS))
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
