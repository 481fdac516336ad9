"""The sanity checks carried out: the table, the verdicts, the plots and the record."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import pandas as pd

from interpbench.attribution.explainer import Explainer
from interpbench.core.progress import SILENT, Progress
from interpbench.core.types import Dataset
from interpbench.files.csv_files import write_csv
from interpbench.files.output_folder import Destination, OutputFolder
from interpbench.files.records import INLINE, Record
from interpbench.files.versions import GitState, git_state
from interpbench.loading.images import choose, default_count, load_images
from interpbench.studies.chosen_tests import choose_tests
from interpbench.studies.records import MethodsOutcome, Provenance
from interpbench.studies.sanity.checks import DEFAULT, SAMPLES, TESTS, Checks, CopyRecord
from interpbench.studies.sanity.plots import bar_tests, draw_bars, draw_layers, layer_kinds
from interpbench.studies.sanity.verdict import RULE, verdicts

IMAGES = 16  # where nobody says how many


@dataclass(frozen=True)
class SanityPlan:
    """What is checked.

    Attributes:
        images: how many, class-balanced; None for 16, or all where there are fewer.
        tests: of `checks.TESTS`, or `all`.
        samples: noisy images a map in the test `smooth`.
    """

    images: int | None = None
    tests: tuple[str, ...] = DEFAULT
    samples: int = SAMPLES


class SanityRecord(Record):
    """sanity.json."""

    dataset: str
    revision: str
    tests: tuple[str, ...]
    samples: int
    made: Annotated[Provenance, INLINE]
    git: GitState
    sample_ids: tuple[str, ...]
    pixels_sha256: str
    skipped: dict[str, str]
    rule: str
    layers_left_out: tuple[str, ...]
    copies: tuple[CopyRecord, ...] = ()
    outcome: Annotated[MethodsOutcome | None, INLINE] = None


@dataclass(frozen=True, eq=False)
class Sanity:
    """What `sanity` found.

    Attributes:
        folder: where it lies: sanity.csv, verdicts.csv, plots, sanity.json.
        table: a row a method, test, layer, kind of map and measure: see `checks.Checks.run`.
        verdicts: a row a method: see `verdict.verdicts`.
        record: how it was made.
        outcome: how the methods fared.
    """

    folder: Path
    table: pd.DataFrame
    verdicts: pd.DataFrame
    record: SanityRecord
    outcome: MethodsOutcome

    def __repr__(self) -> str:
        """The verdicts, and where the rest is."""
        return f"{self.verdicts.to_string(index=False)}\nIn {self.folder}"

    @property
    def failed(self) -> bool:
        """Whether some method broke down."""
        return bool((self.table["status"] == "failed").any())


def _of_one_logit(explainer: Explainer, plan: SanityPlan) -> list[str]:
    """That the test random-logit says nothing of a model with one logit, where it does not."""
    if explainer.model.card.outputs != "binary" or "random-logit" not in plan.tests:
        return []
    return [
        "The model has one logit, so that the two classes' maps are each other's negatives and "
        "their absolute values the same: whatever random-logit says of a gradient method is so by "
        "construction."
    ]


def check_sanity(
    data: Dataset,
    explainer: Explainer,
    plan: SanityPlan = SanityPlan(),
    *,
    dataset: str = "",
    to: Destination = Destination(),
    progress: Progress = SILENT,
) -> Sanity:
    """Tests whether maps depend on the model's weights and on the class.

    By parameter randomisation, and by a random logit.

    Parameters:
        data: the data set.
        explainer: the model and the methods.
        plan: which tests, on how many images.
        dataset: what the data set was called, for the record.
        to: where tables and plots go.
        progress: told which method has made how many maps more.

    Raises:
        UnknownNameError: for a test that there is none of.
        DataError: if there are fewer than two images.
        ParameterError: if the model has no layers to randomise, or no second class.
        RunFolderError: if the folder holds something else, or cannot be written.
        PluginError: if the model fails.
    """
    tests = choose_tests(plan.tests, TESTS)
    count, fewer = (plan.images, ()) if plan.images else default_count(data, IMAGES)
    indices = choose(data, count, explainer.seed)
    images = load_images(data, indices, explainer.model.card.preparation)
    checks = Checks(explainer, images, data.card.name, tests, plan.samples)
    record = SanityRecord(
        dataset=dataset,
        revision=data.card.revision,
        tests=tests,
        samples=plan.samples,
        made=Provenance.of(explainer),
        git=git_state(),
        sample_ids=images.ids,
        pixels_sha256=images.sha256,
        skipped=images.skipped,
        rule=RULE,
        layers_left_out=tuple(checks.left_out),
    )
    label = explainer.explained.choice
    folder = to.open("sanity", f"{data.card.name}-{label.slug}", record)
    with folder:
        table = checks.run(progress)
        judged = verdicts(table)
        folder.write("sanity.csv", partial(write_csv, table))
        folder.write("verdicts.csv", partial(write_csv, judged))
        _draw(table, f"{label.label} on {data.card.name}, {len(images.ids)} images", folder)
        said = [*fewer, *_of_one_logit(explainer, plan)]
        outcome = MethodsOutcome.of(explainer).with_notices(said)
        record = record.model_copy(update={"copies": tuple(checks.copies), "outcome": outcome})
        folder.record = record
    return Sanity(folder.path, table, judged, record, outcome)


def _draw(table: pd.DataFrame, title: str, folder: OutputFolder) -> None:
    for kind in layer_kinds(table):
        folder.write(f"layers-{kind}.png", partial(draw_layers, table, kind, title))
    for test in bar_tests(table):
        folder.write(f"{test}.png", partial(draw_bars, table, test, title))
