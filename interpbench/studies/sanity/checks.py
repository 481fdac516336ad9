"""The sanity checks of saliency methods: what is compared with what, as a tidy table.

* `cascading`, `independent`: the model parameter randomisation test (MPRT; Adebayo, Gilmer, Muelly, Goodfellow, Hardt,
  Kim, Sanity Checks for Saliency Maps, NeurIPS 2018). The trained model's map against that of a copy in which the
  layers from the top down to this one, or this one alone, are initialised again: see `randomise`.
* `smooth`: sMPRT (Hedström, Weber, Lapuschkin, Höhne, Sanity Checks Revisited, XAI in Action at NeurIPS 2023; A Fresh
  Look at Sanity Checks for Saliency Maps, xAI 2024). Each map is the mean over noisy copies of the image before it is
  compared. As in their experiments: 50 samples, Gaussian noise with a tenth of the image's range as its standard
  deviation, and the copy in which all layers are new.
* `efficient`: eMPRT, of the same papers. (H(new) - H(trained)) / H(trained), with H the entropy of the map's histogram
  in 100 bins, for the copy in which all layers are new: a map that reads the model is to get more complex, so higher is
  better. Of the map as the method gives it, with its signs; H does not depend on its unit.
* `random-logit`: the map for the target against that for another class, drawn for each image (Sixt, Granz, Landgraf,
  When Explanations Lie, ICML 2020).

The class that is explained is the one that the trained model predicts, for every copy. A method's own chance is the
same for both maps, so noise is no difference. Maps are compared as absolute values and, where the method is signed,
with their signs too. Signed is a method that gives the trained model a negative value anywhere; for the others the two
are the same. Absolute maps are what the verdicts go by: where a method's sign is that of the logit, as with LRP's z+
rule, a new top layer turns a whole map upside down without moving anything in it. A pair in which a map is constant, or
not finite, cannot be compared: it is left out, and counted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from interpbench.attribution.explainer import Explainer
from interpbench.core.devices import exact_arithmetic
from interpbench.core.errors import DataError, ParameterError, unknown_name
from interpbench.core.seeding import derive
from interpbench.core.types import Model, normalise
from interpbench.loading.images import ImageSet
from interpbench.registry.plugin import Configured, blaming
from interpbench.studies.sanity.comparing import (
    COLUMNS,
    Compare,
    Place,
    comparable,
    complexities,
    failed_row,
    rows,
    similarities,
)
from interpbench.studies.sanity.randomise import Randomised, Randomiser

TESTS = ("cascading", "independent", "smooth", "efficient", "random-logit")
DEFAULT = ("cascading", "independent", "efficient", "random-logit")  # smooth makes each map of many
ALL = "all"
ALL_LAYERS = "(all)"
SAMPLES, NOISE = 50, 0.1  # sMPRT's: noisy images a map, and the noise's deviation as a share of the image's range


def choose_tests(texts: Sequence[str]) -> tuple[str, ...]:
    """The tests that a user names, in the order of TESTS; `all` is all of them.

    Raises:
        UnknownNameError: for a name that is none; the message lists the near ones.
        ParameterError: if nothing is named.
    """
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        if name not in (*TESTS, ALL):
            raise unknown_name("test in --test:", name, [*TESTS, ALL])
    if not names:
        raise ParameterError(f"No test is chosen. Name one with --test: {', '.join(TESTS)}, or {ALL}.")
    return tuple(test for test in TESTS if test in names or ALL in names)


class Checks:
    """The checks of one model's methods on some images.

    Attributes:
        trained: the model as it is, with the methods.
        copies: what became of the logits of each randomised copy, for the record.
        left_out: layers that could not be initialised again.
        total: how many maps will be made, if no method fails.
    """

    def __init__(
        self, trained: Explainer, images: ImageSet, dataset: str, tests: Sequence[str] = TESTS, samples: int = SAMPLES
    ) -> None:
        """Asks the model what it predicts for the images, and looks for its layers.

        Args:
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
        self.copies: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self._images, self._tests, self._samples = images, tests, samples
        self._names = {"dataset": dataset, "model": trained.subject.choice.label}
        self._target = trained.probabilities(images.images).argmax(1)
        self._other = None
        if "random-logit" in tests:
            self._other = other_classes(self._target, images.ids, trained.model.card.classes, trained.seed)
        self._before: dict[str, np.ndarray] = {}  # label -> the trained model's maps
        self._progress: Callable[[str, int], object] = lambda what, maps: None
        self._randomiser = None
        layers = 0
        if set(tests) - {"random-logit"}:
            x = normalise(images.images.to(trained.device), trained.model.card)
            with exact_arithmetic(), blaming(trained.subject.choice):
                self._randomiser = Randomiser(trained.model, x, trained.seed)
            layers, self.left_out = len(self._randomiser.layers), self._randomiser.left_out
        maps = {"cascading": layers, "independent": layers, "smooth": 2 * samples, "efficient": 1, "random-logit": 1}
        self.total = len(trained.asked) * count * (1 + sum(maps[test] for test in tests))

    def run(self, progress: Callable[[str, int], object] = lambda what, maps: None) -> pd.DataFrame:
        """The table with COLUMNS: a row a method, test, layer, kind of map and measure, sorted by them.

        `mean`, `sd`, `low`, `high` are of the images whose maps can be compared; the last two are the 95 % interval of
        the mean. `status` is `ok`; `failed`, where the method broke down; or `undefined`, where no pair of maps can be
        compared. `reason` says why. `logits` says if those of the copy are dead, unchanged or not finite.

        Args:
            progress: told which method has made how many maps more.

        Raises:
            PluginError: if the model cannot be copied, or a copy fails.
        """
        self._progress = progress
        found: list[dict[str, Any]] = []
        self._before = self._maps_before(self.trained, "trained", found)
        if self._other is not None:
            for label, maps in self._before.items():
                place = Place(label, "random-logit")
                found += self._compare(self.trained, place, self._other, maps, similarities)
        for test in self._tests:
            found += self._against_copies(test)
        order = ["method", "test", "layer_index", "map", "measure"]
        table = pd.DataFrame(found, columns=COLUMNS)
        return table.sort_values(order, kind="stable", ignore_index=True)

    def _against_copies(self, test: str) -> Iterator[dict[str, Any]]:
        """The rows of one of the tests that randomise the model."""
        subject, before, compare = self.trained.subject, self._before, similarities
        failures: list[dict[str, Any]] = []
        if test == "smooth":
            methods = {label: smoothed(subject.methods[label], self._samples) for label in before}
            subject = replace(subject, methods=methods)
            before = self._maps_before(self._explainer(subject, self.trained.model), test, failures)
        elif test == "efficient":
            compare = complexities
        yield from failures
        for made in self._made(test):
            explainer = self._explainer(subject, made.model)
            layer = made.layer if test in ("cascading", "independent") else ALL_LAYERS
            for label, maps in before.items():
                place = Place(label, test, layer, made.index, made.note)
                yield from self._compare(explainer, place, self._target, maps, compare)

    def _made(self, test: str) -> Iterator[Randomised]:
        """The randomised copies of a test, each noted in the record."""
        if self._randomiser is None or test == "random-logit":
            return
        every = {"cascading": self._randomiser.cascading, "independent": self._randomiser.independent}
        copies = every.get(test, self._randomiser.complete)()
        while True:
            with exact_arithmetic(), blaming(self.trained.subject.choice):
                made = next(copies, None)
            if made is None:
                return
            self.copies.append(
                {
                    "test": test, "layer": made.layer, "layer_index": made.index, "logits": made.note,
                    "spread_of_logits": made.spread, "same_prediction": made.same,
                }
            )  # fmt: skip
            yield made

    def _explainer(self, subject: Any, model: Model) -> Explainer:
        """Asks the methods of `subject` about a model, which gets a guard of its own."""
        return Explainer(replace(subject, model=model), self.trained.device, self.trained.seed)

    def _maps_before(self, explainer: Explainer, test: str, failures: list[dict[str, Any]]) -> dict[str, np.ndarray]:
        """label -> the trained model's maps; `failures` gets a row for each method that has none to compare."""
        before = {}
        for label in explainer.asked:
            maps = self._explain(explainer, label, self._target)
            if maps is not None and comparable(maps).any():
                before[label] = maps
            else:
                why = explainer.failures.get(label) or "gives the trained model constant maps, which cannot be compared"
                failures.append(failed_row(Place(label, test), why, self._names))
        return before

    def _compare(
        self, explainer: Explainer, place: Place, target: Tensor, before: np.ndarray, compare: Compare
    ) -> list[dict[str, Any]]:
        """The rows of one method's maps for `target` against those of before."""
        maps = self._explain(explainer, place.method, target)
        if maps is None:
            return [failed_row(place, explainer.failures[place.method], self._names)]
        return list(rows(place, compare(before, maps), self._names, self.trained.seed))

    def _explain(self, explainer: Explainer, label: str, target: Tensor) -> np.ndarray | None:
        maps = explainer.maps(label, self._images.images, target, self._images.ids)
        self.trained.asked[label].left_behind.update(explainer.asked[label].left_behind)
        plain = explainer.subject.methods is self.trained.subject.methods
        self._progress(label, len(self._images.ids) * (1 if plain else self._samples))
        return maps


def other_classes(target: Tensor, ids: Sequence[str], classes: int, seed: int) -> Tensor:
    """For each image a logit that is not its target, drawn evenly from the others by the image's id: int64 [N].

    Raises:
        ParameterError: if there is no other.
    """
    if classes < 2:
        raise ParameterError(
            "The test random-logit needs a second class, and the model has one. Leave it out of --test."
        )
    draws = [derive(seed, "random-logit", sample_id) % (classes - 1) for sample_id in ids]
    return torch.tensor([draw + (draw >= chosen) for draw, chosen in zip(draws, target.tolist(), strict=True)])


def smoothed(method: Configured, samples: int) -> Configured:
    """The method whose map is the mean of the method's maps over noisy copies of the image.

    The noise is Gaussian, its deviation NOISE times the range of the image in the model's normalised space.
    """
    plugin = method.plugin

    def mean_map(
        model: Model, x: Tensor, target: Tensor, *, generators: Sequence[torch.Generator], **values: Any
    ) -> Tensor:
        """The mean of `samples` maps, [B,C,H,W] -> [B,H,W]."""
        deviation = NOISE * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
        chance = {"generators": generators} if "generators" in plugin.takes else {}
        maps = []
        for _ in range(samples):
            noise = torch.stack([torch.randn(x.shape[1:], generator=generator) for generator in generators])
            maps.append(plugin.call(model, x + deviation * noise.to(x.device), target, **values, **chance).detach())
        return torch.stack(maps).mean(dim=0)

    changed = replace(plugin, call=mean_map, takes=plugin.takes | {"generators"})
    return Configured(changed, method.values, method.given)
