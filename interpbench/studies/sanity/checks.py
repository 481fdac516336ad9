"""The sanity checks of saliency methods: what is compared with what, as a tidy table.

* `cascading`, `independent`: the model parameter randomisation test (MPRT; Adebayo, Gilmer, Muelly,
  Goodfellow, Hardt, Kim, Sanity Checks for Saliency Maps, NeurIPS 2018). The trained model's map
  against that of a copy in which the layers from the top down to this one, or this one alone, are
  initialised again: see `toolbox.randomise`. Batch norms are measured on the images explained.
* `complete`: the end of the cascade alone, a copy in which all layers are new. One map an image
  instead of one a layer, where methods are slow.
* `smooth`: sMPRT (Hedström, Weber, Lapuschkin, Höhne, Sanity Checks Revisited, XAI in Action at
  NeurIPS 2023; A Fresh Look at Sanity Checks for Saliency Maps, xAI 2024). Each map is the mean
  over noisy copies of the image before it is compared. As in their experiments: 50 samples,
  Gaussian noise with a tenth of the image's range as its standard deviation, and the copy in which
  all layers are new.
* `efficient`: eMPRT, of the same papers. (H(new) - H(trained)) / H(trained), with H the entropy of
  the map's histogram in 100 bins, for the copy in which all layers are new: a map that reads the
  model is to get more complex, so higher is better. Of the map as the method gives it, with its
  signs; H does not depend on its unit.
* `random-logit`: the map for the target against that for another class, drawn for each image (Sixt,
  Granz, Landgraf, When Explanations Lie, ICML 2020).

The class that is explained is the one that the trained model predicts, for every copy. A method's
own chance is the same for both maps, so noise is no difference. Maps are compared as absolute
values and, where the method is signed, with their signs too. Signed is a method that gives the
trained model a negative value anywhere; for the others the two are the same. Absolute maps are what
the verdicts go by: where a method's sign is that of the logit, as with LRP's z+ rule, a new top
layer turns a whole map upside down without moving anything in it. A pair in which a map is
constant, or not finite, cannot be compared: it is left out, and counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from interpbench.attribution.explainer import Explainer
from interpbench.attribution.model_and_methods import ModelAndMethods
from interpbench.core.devices import exact_arithmetic
from interpbench.core.errors import DataError, ParameterError
from interpbench.core.progress import SILENT, Progress
from interpbench.core.seeding import derive
from interpbench.core.types import Model, normalise
from interpbench.files.records import Record
from interpbench.loading.images import ImageSet
from interpbench.registry.plugin import Configured, blaming
from interpbench.studies.sanity.comparing import (
    COLUMNS,
    Compare,
    Comparison,
    TableRow,
    comparable,
    complexities,
    failed_row,
    rows,
    similarities,
)
from interpbench.studies.sanity.copy_logits import CopyLogits, logits_of
from interpbench.toolbox.randomise import Randomised, Randomiser

TESTS = ("cascading", "independent", "complete", "smooth", "efficient", "random-logit")
# Without `smooth`, which makes each map of many, and what `cascading` ends with.
DEFAULT = ("cascading", "independent", "efficient", "random-logit")
ALL_LAYERS = "(all)"
SAMPLES = 50  # sMPRT's: noisy images a map
NOISE = 0.1  # sMPRT's: the noise's deviation as a share of the image's range


class CopyRecord(Record):
    """A randomised copy, and what became of its logits."""

    test: str
    layer: str
    layer_index: int
    logits: str
    spread_of_logits: float
    same_prediction: float


class Checks:
    """The checks of one model's methods on some images.

    Attributes:
        trained: the model as it is, with the methods.
        copies: what became of the logits of each randomised copy, for the record.
        left_out: layers that could not be initialised again.
        total: how many maps will be made, if no method fails.
    """

    def __init__(
        self,
        trained: Explainer,
        images: ImageSet,
        dataset: str,
        tests: Sequence[str] = TESTS,
        samples: int = SAMPLES,
    ) -> None:
        """Asks the model what it predicts for the images, and looks for its layers.

        Parameters:
            trained: the model, with the methods.
            images: what is explained.
            dataset: the data set's name.
            tests: of `TESTS`.
            samples: noisy images a map in the smooth test.

        Raises:
            DataError: if there are fewer than two images.
            ParameterError: if the model has no layers to randomise, or no second class.
            PluginError: if the model fails.
        """
        count = len(images.ids)
        if count < 2:
            raise DataError("The checks need two images at least: raise --images.")
        self.trained = trained
        self.copies: list[CopyRecord] = []
        self.left_out: list[str] = []
        self._images, self._tests, self._samples = images, tests, samples
        self._names = {"dataset": dataset, "model": trained.explained.choice.label}
        self._target = trained.answers(images.images).predicted
        self._other = None
        if "random-logit" in tests:
            self._other = other_classes(
                self._target, images.ids, trained.model.card.classes, trained.seed
            )
        self._before: dict[str, np.ndarray] = {}  # label -> the trained model's maps
        self._progress = SILENT
        self._randomiser = None
        layers = 0
        if set(tests) - {"random-logit"}:
            x = normalise(images.images.to(trained.device), trained.model.card.preparation)
            with exact_arithmetic(), blaming(trained.explained.choice):
                self._randomiser = Randomiser(trained.model, x, trained.seed)
                self._x, self._logits = x, logits_of(trained.model, x)
            layers, self.left_out = len(self._randomiser.layers), self._randomiser.left_out
        maps = {
            "cascading": layers,
            "independent": layers,
            "complete": 1,
            "smooth": 2 * samples,
            "efficient": 1,
            "random-logit": 1,
        }
        self.total = len(trained.accounts) * count * (1 + sum(maps[test] for test in tests))

    def run(self, progress: Progress = SILENT) -> pd.DataFrame:
        """The table with COLUMNS: a row a method, test, layer, kind of map and measure.

        It is sorted by them. `mean`, `sd`, `low`, `high` are of the images whose maps can be
        compared; the last two are the 95 % interval of the mean. `status` is `ok`; `failed`, where
        the method broke down; or `undefined`, where no pair of maps can be compared. `reason` says
        why. `logits` says if those of the copy are dead, unchanged or not finite.

        Parameters:
            progress: told which method has made how many maps more.

        Raises:
            PluginError: if the model cannot be copied, or a copy fails.
        """
        self._progress = progress
        progress.begin(self.total)
        self._before, records = self._maps_before(self.trained, "trained")
        if self._other is not None:
            for label, maps in self._before.items():
                place = Comparison(label, "random-logit")
                records += self._compare(self.trained, place, self._other, maps, similarities)
        for test in self._tests:
            records += self._against_copies(test)
        order = ["method", "test", "layer_index", "map", "measure"]
        table = pd.DataFrame(records, columns=COLUMNS)
        return table.sort_values(order, kind="stable", ignore_index=True)

    def _against_copies(self, test: str) -> Iterator[TableRow]:
        """The rows of one of the tests that randomise the model."""
        explained, before, compare = self.trained.explained, self._before, similarities
        if test == "smooth":
            methods = {label: smoothed(explained.methods[label], self._samples) for label in before}
            explained = replace(explained, methods=methods)
            before, failures = self._maps_before(
                self._explainer(explained, self.trained.model), test
            )
            yield from failures
        elif test == "efficient":
            compare = complexities
        for randomised, logits in self._copies_of_test(test):
            explainer = self._explainer(explained, randomised.model)
            layer = randomised.layer if test in ("cascading", "independent") else ALL_LAYERS
            for label, maps in before.items():
                place = Comparison(label, test, layer, randomised.index, logits.note)
                yield from self._compare(explainer, place, self._target, maps, compare)

    def _copies_of_test(self, test: str) -> Iterator[tuple[Randomised, CopyLogits]]:
        """The randomised copies of a test, each noted in the record with its logits."""
        if self._randomiser is None or test == "random-logit":
            return
        makers = {
            "cascading": self._randomiser.cascading,
            "independent": self._randomiser.independent,
        }
        copies = makers.get(test, self._randomiser.complete)()
        while True:
            with exact_arithmetic(), blaming(self.trained.explained.choice):
                randomised = next(copies, None)
                if randomised is None:
                    return
                logits = CopyLogits.of(randomised.model, self._x, self._logits)
            self.copies.append(
                CopyRecord(
                    test=test,
                    layer=randomised.layer,
                    layer_index=randomised.index,
                    logits=logits.note,
                    spread_of_logits=logits.spread,
                    same_prediction=logits.same,
                )
            )
            yield randomised, logits

    def _explainer(self, explained: ModelAndMethods, model: Model) -> Explainer:
        """Asks methods about a model, which gets a guard of its own."""
        return Explainer(replace(explained, model=model), self.trained.device, self.trained.seed)

    def _maps_before(
        self, explainer: Explainer, test: str
    ) -> tuple[dict[str, np.ndarray], list[TableRow]]:
        """label -> the trained model's maps; and a row for each method that has none to compare."""
        before, failures = {}, []
        for label in explainer.accounts:
            maps = self._explain(explainer, label, self._target)
            if maps is not None and comparable(maps).any():
                before[label] = maps
            else:
                why = (
                    explainer.failures.get(label)
                    or "gives the trained model constant maps, which cannot be compared"
                )
                failures.append(failed_row(Comparison(label, test), why, self._names))
        return before, failures

    def _compare(
        self,
        explainer: Explainer,
        place: Comparison,
        target: Tensor,
        before: np.ndarray,
        compare: Compare,
    ) -> list[TableRow]:
        """The rows of one method's maps for `target` against those of before."""
        maps = self._explain(explainer, place.method, target)
        if maps is None:
            return [failed_row(place, explainer.failures[place.method], self._names)]
        return list(rows(place, compare(before, maps), self._names, self.trained.seed))

    def _explain(self, explainer: Explainer, label: str, target: Tensor) -> np.ndarray | None:
        maps = explainer.maps(label, self._images.images, target, self._images.ids)
        self.trained.accounts[label].left_behind |= explainer.accounts[label].left_behind
        plain = explainer.explained.methods is self.trained.explained.methods
        self._progress.advance(label, len(self._images.ids) * (1 if plain else self._samples))
        return maps


def other_classes(target: Tensor, ids: Sequence[str], classes: int, seed: int) -> Tensor:
    """For each image a logit that is not its target: int64 [N].

    It is drawn evenly from the others by the image's id.

    Raises:
        ParameterError: if there is no other.
    """
    if classes < 2:
        raise ParameterError(
            "The test random-logit needs a second class, and the model "
            "has one. Leave it out of --test."
        )
    draws = [derive(seed, "random-logit", sample_id) % (classes - 1) for sample_id in ids]
    return torch.tensor(
        [draw + (draw >= chosen) for draw, chosen in zip(draws, target.tolist(), strict=True)]
    )


def smoothed(method: Configured, samples: int) -> Configured:
    """The method whose map is the mean of the method's maps over noisy copies of the image.

    The noise is Gaussian, its deviation NOISE times the range of the image in the model's
    normalised space.
    """
    plugin = method.plugin

    def mean_map(
        model: Model,
        x: Tensor,
        target: Tensor,
        *,
        generators: Sequence[torch.Generator],
        **values: Any,
    ) -> Tensor:
        """The mean of `samples` maps, [B,C,H,W] -> [B,H,W]."""
        deviation = NOISE * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
        chance = {"generators": generators} if "generators" in plugin.takes else {}
        maps = []
        for _ in range(samples):
            noise = torch.stack(
                [torch.randn(x.shape[1:], generator=generator) for generator in generators]
            )
            maps.append(
                plugin.call(
                    model, x + deviation * noise.to(x.device), target, **values, **chance
                ).detach()
            )
        return torch.stack(maps).mean(dim=0)

    changed = replace(plugin, call=mean_map, takes=plugin.takes | {"generators"})
    return Configured(changed, method.values, method.given)
