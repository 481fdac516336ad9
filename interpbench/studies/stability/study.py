"""The study: its tables, its pictures and its record, from runs that scored the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from interpbench.core.errors import ParameterError
from interpbench.files.csv_files import write_csv
from interpbench.files.output_folder import OutputFolder
from interpbench.files.records import Record
from interpbench.files.versions import GitState
from interpbench.results.finished_run import Run
from interpbench.studies.stability.plots import draw_conclusions, draw_taus
from interpbench.studies.stability.settings import Setting
from interpbench.studies.stability.survey import Survey, by_factor, scores_of, survey


class StabilityRecord(Record):
    """stability.json."""

    command: tuple[str, ...]
    git: GitState
    seed: int
    settings: tuple[str, ...]
    runs: dict[str, str]


@dataclass(frozen=True, eq=False)
class Stability:
    """Which conclusions survive when settings change.

    Attributes:
        folder: where it lies: a CSV for each table of the survey, factors.csv, taus.png,
            conclusions.png, stability.json, and the runs.
        survey: what the rankings say together.
        factors: what each factor does to the ranking, see `survey.by_factor`.
        runs: name of a run -> the run.
    """

    folder: Path
    survey: Survey
    factors: pd.DataFrame
    runs: Mapping[str, Run]

    def __repr__(self) -> str:
        """The factors, and where the rest is."""
        return f"{self.factors.to_string(index=False)}\nIn {self.folder}"


def study_stability(
    settings: Sequence[Setting], runs: Mapping[str, Run], folder: OutputFolder, seed: int
) -> Stability:
    """Compares the rankings of runs of one model on one data set, and writes what came of it.

    Parameters:
        settings: what was scored.
        runs: by the names that settings give them.
        folder: is written to.
        seed: of the resamples of images.

    Raises:
        ParameterError: if a run has several models, or too few scores.
        RunFolderError: if the folder cannot be written.
    """
    models = {key for run in runs.values() for key in run.tables.models}
    if len(models) > 1:
        names = ", ".join(sorted(model for _, model in models))
        raise ParameterError(f"A ranking is of one model on one data set, not of {names}.")
    scored = [scores_of(setting, runs[setting.run].tables) for setting in settings]
    found = survey(scored, seed)
    factors = by_factor(found)
    [(dataset, model)] = models
    images = int(found.settings["images"].max())
    title = f"{model} on {dataset}, {images} images"
    tables = {**vars(found), "factors": factors}
    for name, table in tables.items():
        folder.write(f"{name}.csv", partial(write_csv, table))
    folder.write("taus.png", partial(draw_taus, found, title))
    folder.write("conclusions.png", partial(draw_conclusions, found, title))
    return Stability(folder.path, found, factors, runs)
