"""What `advise` asks of the rest of the house: scores of a round, sanity checks, passes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from interpbench.attribution.explainer import Explainer
from interpbench.core.devices import Computing
from interpbench.core.progress import SILENT, Progress
from interpbench.core.types import Dataset
from interpbench.files.atomic import write_text_atomically
from interpbench.files.output_folder import Destination
from interpbench.loading.dataset import open_dataset
from interpbench.loading.images import choose
from interpbench.registry.choosing import Sources, choose_dataset, choose_plugins
from interpbench.registry.registry import Registry
from interpbench.results.run_folder import Mode, RunFolder
from interpbench.results.tables import RunTables
from interpbench.running.execute import Reporter, execute
from interpbench.running.forecast import forecast
from interpbench.running.plan import Plan, make_plan
from interpbench.studies.advise.rules import SUITE, Rules
from interpbench.studies.sanity.study import Sanity, SanityPlan, check_sanity
from interpbench.suite.cells import Cell
from interpbench.suite.selection import Selection
from interpbench.suite.suite import load_suite


@dataclass(frozen=True)
class Round:
    """What is scored in a round.

    Attributes:
        methods: labels, or what a user named.
        ids: of the images.
        metrics: None for those of `suite.toml` that apply.
        deadline: by `time.monotonic`, after which no further method is begun.
    """

    methods: tuple[str, ...]
    ids: tuple[str, ...]
    metrics: tuple[str, ...] | None
    deadline: float


@dataclass(frozen=True)
class Bench:
    """A model, a data set and methods, ready to be measured.

    Attributes:
        registry, sources, computing: of plugins, data and weights; where.
        dataset, model: as a user names them.
        methods: likewise.
        target: the class that is explained, `predicted` or `label`.
        seed: of every random choice.
        progress: told how it gets on.
    """

    registry: Registry
    sources: Sources
    computing: Computing
    dataset: str
    model: str
    methods: tuple[str, ...]
    target: str
    seed: int
    progress: Progress = SILENT

    @cached_property
    def data(self) -> Dataset:
        """The data set, opened."""
        choice = choose_dataset(self.registry, self.dataset, self.sources)
        return open_dataset(choice, self.sources.samples)

    @cached_property
    def everybody(self) -> tuple[str, ...]:
        """All controls, which come first and never drop out, and the methods."""
        plugins = self.registry.plugins("method")
        controls = [it.name for it in plugins if it.control and not it.required]
        return (*controls, *self.methods)

    def labels(self, methods: Sequence[str]) -> list[str]:
        """What methods that were named are called in tables."""
        return list(choose_plugins(self.registry, "method", methods).plugins)

    def ids(self, images: int | None) -> tuple[str, ...]:
        """Of so many images, or all; however many come first are class-balanced.

        Raises:
            DataError: if there are fewer.
        """
        order = choose(self.data, images, self.seed, in_turn=True)
        return tuple(self.data.ids[index] for index in order)

    def score(self, asked: Round, folder: Path) -> RunTables:
        """A round's tables; only of the methods that were begun before its deadline.

        Where it was interrupted, it goes on.

        It is an ordinary run, and can be done again: `run --suite`, with `--samples` of the file
        beside its folder.

        Raises:
            InterpBenchError: if the input is wrong, or the folder holds another run.
        """
        plan = self._plan(asked, folder.with_suffix(".txt"))
        run = RunFolder(folder)
        try:
            mode: Mode = "resume" if folder.is_dir() else "new"
            execute(plan, run, mode, False, _UntilLate(self.progress, asked.deadline))
        except _LateError:
            pass
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None  # without how to go on with this run alone
        return run.tables()

    def passes(
        self, methods: Sequence[str], ids: Sequence[str], folder: Path
    ) -> dict[str, tuple[float, float, float]]:
        """Forward passes, backward passes and windows of a map of each method."""
        asked = Round(tuple(methods), tuple(ids), None, float("inf"))
        plan = self._plan(asked, folder.with_suffix(".txt"))
        costs = forecast(replace(plan, metrics={}), 1, SILENT).costs
        return {
            cost.label: (
                cost.forwards / cost.count,
                cost.backwards / cost.count,
                cost.windows / cost.count,
            )
            for cost in costs
            if cost.part == "maps" and cost.count
        }

    def check(self, methods: Sequence[str], images: int, rules: Rules, folder: Path) -> Sanity:
        """The sanity checks of methods, on the first images."""
        explainer = Explainer.load(
            self.registry, self.model, methods, self.data.card, self.sources, self.computing,
            self.seed,
        )  # fmt: skip
        asked = SanityPlan(images, rules.sanity_tests)
        to = Destination(folder, overwrite=True)
        return check_sanity(
            self.data, explainer, asked, dataset=self.dataset, to=to, progress=self.progress
        )

    def refuse_wrong_input(self) -> None:
        """Makes a plan of the first image, before anything is written.

        Raises:
            InterpBenchError: whatever is wrong with the input.
        """
        selection = self._selection(self.everybody, None, images=1)
        make_plan(selection, self.registry, self.computing, self.sources)

    def _plan(self, asked: Round, listed: Path) -> Plan:
        listed.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(listed, "".join(f"{sample_id}\n" for sample_id in asked.ids))
        selection = self._selection(asked.methods, asked.metrics)
        sources = replace(self.sources, samples=listed)
        return make_plan(selection, self.registry, self.computing, sources)

    def _selection(
        self, methods: Sequence[str], metrics: Sequence[str] | None, images: int | None = None
    ) -> Selection:
        flags = {
            "dataset": self.dataset,
            "models": (self.model,),
            "methods": methods,
            "metrics": metrics,
            "images": images,
            "target": self.target,
            "seed": self.seed,
        }
        return Selection.of(load_suite(str(SUITE)), flags)


class _LateError(Exception):
    """The deadline is past."""


class _UntilLate(Reporter):
    """Ends a run where a method would begin after the deadline."""

    def __init__(self, progress: Progress, deadline: float) -> None:
        super().__init__(progress)
        self._deadline = deadline

    def images(self, cell: Cell, count: int) -> None:
        """So many maps more; 0 as a method begins."""
        if count == 0 and time.monotonic() > self._deadline:
            raise _LateError
        super().images(cell, count)
