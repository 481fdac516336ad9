"""The study carried out: what is measured of the metrics, the table, its picture and the record."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch

from interpbench.attribution.explainer import Explainer
from interpbench.core.progress import SILENT, Progress
from interpbench.core.types import Dataset
from interpbench.drawing.style import Page
from interpbench.files.csv_files import write_csv
from interpbench.files.output_folder import Destination, OutputFolder
from interpbench.files.records import INLINE, Record
from interpbench.files.versions import GitState, git_state
from interpbench.registry.plugin import Configured
from interpbench.scoring.map_scores import MapScorer
from interpbench.studies.chosen_tests import choose_tests
from interpbench.studies.judging import agreement, consistency, orders, scenarios
from interpbench.studies.judging.degradations import DEGRADATIONS
from interpbench.studies.judging.plot import draw
from interpbench.studies.judging.subject import Subject, tidy
from interpbench.studies.judging.table import Findings, judged_table
from interpbench.studies.records import MethodsOutcome, Provenance

TESTS = ("orders", "consistency", "agreement", "scenarios")
IMAGES = 16  # where nobody says how many
STEPS = 3  # of each degradation
PERTURBED = 3  # methods, the first ones, whose maps are made again for each perturbation
METHODS = (
    "gradcam", "saliency", "gradient-x-input", "guided-backprop", "lrp-z-plus", "sobel", "random",
)  # fmt: skip
LOCALISATION = ("relevance-mass", "energy-inside")
SCORES = ["metric", "method", "sample_id", "score"]


@dataclass(frozen=True)
class JudgingPlan:
    """What is asked of the metrics.

    Attributes:
        images: how many, class-balanced.
        tests: of `TESTS`, or `all`.
        steps: of each degradation, besides the exact mask.
        perturbations: of images and of weights, minor and disruptive, each.
        localisation: label -> metric, that others are to agree with.
    """

    images: int = IMAGES
    tests: tuple[str, ...] = TESTS
    steps: int = STEPS
    perturbations: int = 1
    localisation: Mapping[str, Configured] = field(default_factory=dict)


class JudgingRecord(Record):
    """judge.json."""

    dataset: str
    revision: str
    tests: tuple[str, ...]
    steps: int
    perturbations: int
    made: Annotated[Provenance, INLINE]
    git: GitState
    sample_ids: tuple[str, ...]
    left_out: int
    pixels_sha256: str
    rules: tuple[str, ...]
    outcome: Annotated[MethodsOutcome | None, INLINE] = None


@dataclass(frozen=True, eq=False)
class Judging:
    """What `judge` found.

    Attributes:
        folder: where it lies: judged.csv, the tables and scores behind it, pictures, judge.json.
        table: a row a metric, see `table.judged_table`.
        findings: the tables behind it.
        record: how it was made.
        outcome: how the methods fared.
    """

    folder: Path
    table: pd.DataFrame
    findings: Findings
    record: JudgingRecord
    outcome: MethodsOutcome

    def __repr__(self) -> str:
        """The first columns of the table, and where the rest is."""
        first = ["metric", "status", "orders", "fooled", "right", "mc"]
        shown = self.table[[column for column in first if column in self.table]]
        return f"{shown.to_string(index=False)}\nIn {self.folder}"

    @property
    def failed(self) -> bool:
        """Whether some metric or method broke down."""
        return bool((self.table["status"] == "failed").any() or self.outcome.failures)


def judge_metrics(
    data: Dataset,
    explainer: Explainer,
    metrics: Mapping[str, Configured],
    plan: JudgingPlan = JudgingPlan(),
    *,
    dataset: str = "",
    to: Destination = Destination(),
    progress: Progress = SILENT,
) -> Judging:
    """Judges metrics where the truth is known.

    Parameters:
        data: the data set, with masks.
        explainer: the model, and the methods that the tests `consistency` and `agreement` need.
        metrics: label -> metric.
        plan: what is asked of them.
        dataset: what the data set was called, for the record.
        to: where tables and pictures go.
        progress: told how it gets on.

    Raises:
        UnknownNameError: for a test that there is none of.
        DataError: if the data have no masks, or the model predicts too few images rightly.
        RunFolderError: if the folder holds something else, or cannot be written.
        PluginError: if the model fails.
    """
    tests = choose_tests(plan.tests, TESTS)
    subject = Subject.of(data, explainer, metrics, plan.images)
    record = JudgingRecord(
        dataset=dataset,
        revision=data.card.revision,
        tests=tests,
        steps=plan.steps,
        perturbations=plan.perturbations,
        made=Provenance.of(explainer),
        git=git_state(),
        sample_ids=subject.ids,
        left_out=subject.left_out,
        pixels_sha256=subject.images.sha256,
        rules=(orders.RULE, scenarios.RULE),
    )
    label = explainer.explained.choice
    folder = to.open("judge", f"{data.card.name}-{label.slug}", record)
    with folder:
        study = _Study(subject, replace(plan, tests=tests), folder, progress)
        found = study.run()
        table = judged_table(metrics, found)
        folder.write("judged.csv", partial(write_csv, table))
        _draw(table, folder)
        outcome = MethodsOutcome.of(explainer)
        record = record.model_copy(update={"outcome": outcome})
        folder.record = record
    return Judging(folder.path, table, found, record, outcome)


class _Study:
    """The tests, one after the other; what they score is written to the folder."""

    def __init__(
        self, subject: Subject, plan: JudgingPlan, folder: OutputFolder, progress: Progress
    ) -> None:
        self._subject, self._plan = subject, plan
        self._folder, self._progress = folder, progress
        progress.begin(len(subject.ids) * self._sets_of_maps)

    @property
    def _methods(self) -> list[str]:
        return list(self._subject.explainer.explained.methods)

    @property
    def _sets_of_maps(self) -> int:
        plan, methods = self._plan, len(self._methods)
        perturbed = 4 * plan.perturbations * min(PERTURBED, methods)
        counts = {
            "orders": plan.steps * len(DEGRADATIONS),
            "consistency": perturbed + min(PERTURBED, methods),
            "agreement": methods,
            "scenarios": 3,
        }
        if "agreement" in plan.tests:
            counts["consistency"] = perturbed  # whose maps as they are, are scored already
        return 1 + sum(counts[test] for test in plan.tests)

    def run(self) -> Findings:
        tests, scorer = self._plan.tests, self._subject.scorer()
        exact = scorer.scores(self._subject.masks.float().to(self._subject.explainer.device))
        self._progress.advance("the exact mask", len(self._subject.ids))
        able = {label: self._subject.metrics[label] for label in exact}  # the others failed
        self._subject = self._subject.asking(able)
        found = Findings(None, None, None, None, scorer.failures)
        if "orders" in tests:
            found = replace(found, orders=self._orders(scorer, exact))
        if {"consistency", "agreement"} & set(tests):
            by_method = self._score_methods(scorer)
            if "agreement" in tests:
                found = replace(found, agreement=self._agreement(by_method))
            if "consistency" in tests:
                found = replace(found, consistency=self._consistency(by_method))
        if "scenarios" in tests:
            found = replace(found, scenarios=self._scenarios())
        return found

    def _orders(self, scorer: MapScorer, exact: Mapping[str, np.ndarray]) -> pd.DataFrame:
        subject = self._subject
        scores = orders.score_degraded(subject, scorer, exact, self._plan.steps, self._progress)
        self._written("degradation_scores", scores)
        return self._written("orders", orders.conclude_orders(subject, scores))

    def _score_methods(self, scorer: MapScorer) -> pd.DataFrame:
        """The scores of the methods' maps, as far as the tests need them."""
        subject, records = self._subject, []
        methods, others = self._methods[:PERTURBED], {}
        if "agreement" in self._plan.tests:
            methods, known = self._methods, subject.metrics
            others = {
                label: m for label, m in self._plan.localisation.items() if label not in known
            }
        scorers = [scorer, subject.asking(others).scorer()] if others else [scorer]
        for method in methods:
            self._progress.advance(method)
            maps = subject.maps(method)
            if maps is not None:
                on_device = torch.from_numpy(maps).to(subject.explainer.device)
                for each in scorers:
                    records += tidy(subject.ids, each.scores(on_device), method=method)
            self._progress.advance(method, len(subject.ids))
        return self._written("method_scores", pd.DataFrame(records, columns=SCORES))

    def _agreement(self, by_method: pd.DataFrame) -> pd.DataFrame:
        localisation = self._plan.localisation
        both = self._subject.asking({**localisation, **self._subject.metrics})
        table = agreement.conclude_agreement(both, by_method, list(localisation))
        of_metrics = table[table["metric"].isin(self._subject.metrics)]
        return self._written("agreement", of_metrics.reset_index(drop=True))

    def _consistency(self, before: pd.DataFrame) -> pd.DataFrame:
        methods = self._methods[:PERTURBED]
        after = consistency.score_perturbed(
            self._subject, methods, self._plan.perturbations, self._progress
        )
        self._written("perturbation_scores", after)
        table = consistency.conclude_consistency(self._subject, before, after)
        return self._written("consistency", table)

    def _scenarios(self) -> pd.DataFrame:
        scores = scenarios.score_scenarios(self._subject, self._progress)
        self._written("scenario_scores", scores)
        return self._written("scenarios", scenarios.conclude_scenarios(self._subject, scores))

    def _written(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        self._folder.write(f"{name}.csv", partial(write_csv, table))
        return table


def _draw(table: pd.DataFrame, folder: OutputFolder) -> None:
    """The picture, and the same for a README on a light and on a dark ground."""
    folder.write("judged.png", partial(draw, table))
    for dark in (False, True):
        page = Page(dark=dark, outlined=True)
        name = f"judged-{'dark' if dark else 'light'}.svg"
        folder.write(name, partial(draw, table, page=page))
