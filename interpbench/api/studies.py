"""Studies: whether methods and metrics can be believed, and which to use."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from interpbench.api.arguments import (
    Names,
    Paths,
    Shown,
    destination_of,
    hand,
    names_of,
    paths_of,
    showing,
)
from interpbench.api.runs import run
from interpbench.core.calls import checked, job
from interpbench.core.errors import ParameterError

if TYPE_CHECKING:
    from interpbench.core.preparation import Preparation, Size
    from interpbench.loading.in_memory import Images, Methods, Metrics, Models
    from interpbench.loading.stated import Numbers
    from interpbench.studies.advise.study import Advice
    from interpbench.studies.conformance.study import Conformance
    from interpbench.studies.judging.study import Judging
    from interpbench.studies.sanity.study import Sanity
    from interpbench.studies.stability.study import Stability


@job
def sanity(
    dataset: "str | Images" = "planted",
    *,
    model: "Models" = "resnet18",
    method: "Methods | None" = None,
    images: int | None = None,
    test: Names = None,
    samples: int = 50,
    weights: str | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Sanity":
    """Tests whether maps depend on what the model has learnt, and on the class.

    The first by parameter randomisation, the second by a random logit.

    Parameters:
        dataset, model, method: as on the command line, or in memory, as for `run`: a data set, or a
            pair of images and labels; methods may be several, and `all`.
        images: how many, class-balanced; two at least. 16 by default, or all where there are fewer.
        test: cascading, independent, complete, efficient, random-logit, smooth, or `all`; else all
            but complete and smooth.
        samples: noisy images a map in the test smooth.
        weights, outputs, preparation, mean, std, size, resize, seed, device, data_root, download,
            plugin, output, overwrite, progress: as for `explain`.

    Raises:
        InterpBenchError: if the input is wrong. A method that fails has rows that say why.

    Example:
        >>> import interpbench
        >>> checked = interpbench.sanity(
        ...     "planted", model="resnet18", method="saliency", images=2, test="random-logit",
        ...     device="cpu", output="saliency-checked",
        ... )
        >>> checked.failed
        False
        >>> sorted(checked.table["measure"])
        ['spearman', 'ssim']
    """
    from interpbench.attribution.explainer import Explainer
    from interpbench.core.devices import Computing
    from interpbench.loading.dataset import open_dataset
    from interpbench.registry.choosing import choose_dataset
    from interpbench.studies.chosen_tests import choose_tests
    from interpbench.studies.sanity.checks import DEFAULT, TESTS
    from interpbench.studies.sanity.methods import METHODS
    from interpbench.studies.sanity.study import SanityPlan, check_sanity

    tests = choose_tests(names_of(test) or DEFAULT, TESTS)
    handed = hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std, size, resize
    )
    text = handed.dataset(dataset) or ""
    data = open_dataset(choose_dataset(handed.registry, text, handed.sources))
    name, methods = handed.model(model), handed.names("method", method) or METHODS
    explainer = Explainer.load(
        handed.registry, name, methods, data.card, handed.sources, Computing.of(device), seed
    )
    plan, to = SanityPlan(images, tests, samples), destination_of(output, overwrite)
    with showing(progress) as shown:
        return check_sanity(data, explainer, plan, dataset=text, to=to, progress=shown)


@job
def advise(
    dataset: "str | Images" = "planted",
    *,
    model: "Models" = "resnet18",
    method: "Methods" = "all",
    budget: str | float = "10m",
    images: int | None = None,
    others: int | None = None,
    target: str = "predicted",
    weights: str | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    seed: int = 0,
    device: str = "auto",
    batch_size: int | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Shown = None,
) -> "Advice":
    """Which method for a model and its images, how sure is that, and what would change it?

    Within the budget, methods race: a few images for all, then ever more images for ever fewer of
    them. Who is shown to be worse than the leader is out, and where time runs short the slowest of
    the worse half; controls stay. The finalists are scored under other settings too, and go through
    the sanity checks. The rules are in `studies/advise/advise.toml`.

    Parameters:
        dataset, model, method: as on the command line, or in memory, as for `run`: a data set, or a
            pair of images and labels; methods may be several, and `all` that apply. All controls
            take part, whoever is named.
        budget: seconds, or `90s`, `10m`, `1.5h`: of the clock, for everything but the
            start of Python.
        images: how many may be used at most, class-balanced; None for all.
        others: when it is answered, beyond the budget, all methods are scored on so many images
            that the answer has not seen, and each of its statements is held against them:
            `statements.csv`.
        target: the class that is explained, `predicted` or `label`.
        resume: goes on with what lies in `output`: rounds that are finished count as they are.
        weights, outputs, preparation, mean, std, size, resize, seed, device, batch_size, data_root,
            download, plugin, output, overwrite, progress: as for `run` and `explain`.

    Raises:
        InterpBenchError: if the input is wrong, or the budget ends before any method is scored. A
            method that fails is out, and said so.

    Example:
        >>> import interpbench
        >>> advice = interpbench.advise(
        ...     "planted", model="resnet18", method="saliency", budget="1h", images=2,
        ...     device="cpu", output="advice",
        ... )
        >>> len(advice.lines) <= 10
        True
        >>> advice.page.name
        'advice.html'
    """
    started = time.monotonic()
    from interpbench.core.devices import Computing
    from interpbench.studies.advise.bench import Bench
    from interpbench.studies.advise.rules import bundled_rules
    from interpbench.studies.advise.study import advise as advise_on
    from interpbench.studies.advise.study import seconds_of

    seconds = seconds_of(str(budget))
    handed = hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std, size, resize
    )
    text, name = handed.dataset(dataset) or "", handed.model(model)
    methods = handed.names("method", method) or ()
    computing = Computing.of(device, batch_size=batch_size)
    to = destination_of(output, overwrite)
    with showing(progress, "maps") as shown:
        bench = Bench(
            handed.registry, handed.sources, computing, text, name, methods, target, seed, shown
        )
        return advise_on(
            bench, bundled_rules(), seconds, images=images, others=others, to=to, resume=resume,
            started=started,
        )  # fmt: skip


@job
def judge(
    dataset: "str | Images" = "planted",
    *,
    model: "Models" = "resnet18",
    metric: "Metrics | None" = None,
    method: "Methods | None" = None,
    images: int = 16,
    test: Names = None,
    steps: int = 3,
    perturbations: int = 1,
    weights: str | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Judging":
    """Judges metrics where the truth is known: which of them can be believed?

    Whether they put the exact mask and its degradations in order; keep their scores under minor
    noise and give them up under disruption (MetaQuantus); rank methods as localisation does; and
    prefer the right map of networks whose truth is known by construction.

    Parameters:
        dataset, model, metric, method: as on the command line, or in memory, as for `run`; the data
            need masks. All metrics and seven methods by default; of these, the first three explain
            each perturbation anew.
        images: how many, class-balanced; those that the model gets wrong are left out.
        test: orders, consistency, agreement, scenarios, or `all`, which is the default.
        steps: of each degradation, besides the exact mask.
        perturbations: of images and of weights, minor and disruptive, each.
        weights, seed, device, data_root, download, plugin, output, overwrite, progress: as for
            `explain`.

    Returns:
        the folder and the table, a row a metric; a metric that needs a method, which a mask is not,
        is `not asked`, with the reason.

    Raises:
        InterpBenchError: if the input is wrong.

    Example:
        >>> import interpbench
        >>> judged = interpbench.judge(
        ...     metric="roc-auc,entropy", images=10, test="orders", device="cpu", output="judged",
        ... )
        >>> judged.table[["metric", "orders"]].values.tolist()
        [['roc-auc', 5], ['entropy', 3]]
    """
    from interpbench.attribution.explainer import Explainer
    from interpbench.core.devices import Computing
    from interpbench.loading.dataset import open_dataset
    from interpbench.registry.choosing import choose_dataset, choose_plugins
    from interpbench.studies.chosen_tests import choose_tests
    from interpbench.studies.judging import study

    for name, count in {"images": images, "steps": steps, "perturbations": perturbations}.items():
        if count < 1:
            raise ParameterError(f"{name}={count}: expected 1 or more.")
    tests = choose_tests(names_of(test) or study.TESTS, study.TESTS)
    handed = hand(plugin, (data_root, download), (weights, None), *[None] * 5)
    text = handed.dataset(dataset) or ""
    data = open_dataset(choose_dataset(handed.registry, text, handed.sources))
    name = handed.model(model)
    methods = handed.names("method", method) or study.METHODS
    chosen, localisation = (
        choose_plugins(handed.registry, "metric", names).plugins
        for names in (handed.names("metric", metric) or ["all"], study.LOCALISATION)
    )
    explainer = Explainer.load(
        handed.registry, name, methods, data.card, handed.sources, Computing.of(device), seed
    )
    plan = study.JudgingPlan(images, tests, steps, perturbations, localisation)
    to = destination_of(output, overwrite)
    with showing(progress) as shown:
        return study.judge_metrics(
            data, explainer, chosen, plan, dataset=text, to=to, progress=shown
        )


@job
def conformance(
    *,
    method: Names = None,
    metric: Names = None,
    metrics: bool = False,
    model: Names = None,
    images: int = 3,
    seed: int = 0,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Conformance":
    """Compares methods, or metrics, with the implementations of other libraries.

    On untrained models and images of noise; metrics on three kinds of maps of these. Writes the
    comparison, and returns it.

    Parameters:
        method: methods, without parameters; all that other libraries have by default.
        metric: metrics, likewise, which are then compared instead.
        metrics: whether metrics are compared instead; all where none is named.
        model: architectures; small ones of each kind by default, for metrics a linear one too.
        images: of noise, 1 to 10, each with another target.
        seed: of weights, images and all chance.
        plugin: files or folders with plugins.
        output: the folder; results/conformance/deviations-N by default.
        overwrite: whether what `conformance` wrote there is replaced.
        progress: told how it gets on.

    Returns:
        the folder, the table of deviations, and whether all are within their tolerance: `holds`,
        `differing`.

    Raises:
        InterpBenchError: if the input is wrong, or none of the libraries is installed.

    Example:
        >>> import interpbench
        >>> compared = interpbench.conformance(
        ...     method="saliency", model="resnet18:width=8", images=1, output="saliency-compared"
        ... )
        >>> compared.holds
        True
        >>> "captum" in set(compared.deviations["library"])
        True
        >>> compared = interpbench.conformance(
        ...     metric="infidelity", model="resnet18:width=8", images=1, output="metrics-compared"
        ... )
        >>> set(compared.deviations["maps"])  == {"gradient-x-input", "ties", "random"}
        True
    """
    from interpbench.core.errors import ParameterError
    from interpbench.registry.discovery import discover
    from interpbench.studies.conformance.study import Asked, compare_methods, compare_metrics

    if method is not None and (metrics or metric is not None):
        raise ParameterError("Methods or metrics are compared, one at a time: name either alone.")
    of_metrics = metrics or metric is not None
    asked = Asked(names_of(metric if of_metrics else method), names_of(model), images, seed)
    compare = compare_metrics if of_metrics else compare_methods
    with showing(progress) as shown:
        return compare(discover(paths_of(plugin)), asked, destination_of(output, overwrite), shown)


@checked
def stability(
    dataset: "str | Images" = "planted",
    *,
    model: "Models" = "resnet18",
    method: "Methods | None" = None,
    metric: Names = None,
    vary: Names = None,
    images: int | None = None,
    target: str | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    weights: Names = None,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> "Stability":
    """Ranks methods under many settings, and says which conclusions survive all of them.

    What differs in scoring alone shares its maps; another target or seed is a run of its own, in
    the folder too.

    Parameters:
        dataset, model, method: as for `run`; one model.
        metric: names as on the command line; deletion and insertion by default.
        vary: what is chosen otherwise: baseline, steps, output, sign, first, target, seed, images;
            all by default, of what a metric has.
        images: how many; those of the suite `quick` by default.
        target: `predicted` or `label`; the other one is the alternative.
        seed: of chance; seed + 1 is the alternative.
        device, data_root, download, weights, plugin, overwrite, progress: as for `run`.
        output: a folder in results/ by default.

    Raises:
        InterpBenchError: if the input is wrong.

    Example:
        >>> import interpbench
        >>> studied = interpbench.stability(
        ...     "planted", method="saliency,gradcam,random", metric="deletion:steps=4",
        ...     vary="sign,images", images=6, device="cpu", output="stable", progress=False,
        ... )
        >>> studied.survey.settings["factor"].tolist()
        ['', 'sign', 'images', 'images']
        >>> sorted(studied.factors["factor"])
        ['images', 'sign']
    """
    from interpbench.files.versions import git_state
    from interpbench.registry.discovery import discover
    from interpbench.studies.stability.settings import SEED, TARGET, alternatives, settings_of
    from interpbench.studies.stability.study import StabilityRecord, study_stability

    known = alternatives()
    factors = None if vary is None else ",".join(names_of(vary) or ()).split(",")
    metrics = names_of(metric) or known.metrics
    settings, wanted = settings_of(discover(paths_of(plugin)), metrics, factors, known)
    record = StabilityRecord(
        command=tuple(sys.argv),
        git=git_state(),
        seed=seed,
        settings=tuple(each.name for each in settings),
        runs={name: name or "base" for name in wanted},
    )
    folder = destination_of(output, overwrite).open("stability", "stability", record)
    usual = target or "predicted"
    targets = {TARGET: "label" if usual == "predicted" else "predicted"}
    runs = {}
    with folder:
        for name, labels in wanted.items():
            runs[name] = run(
                dataset=dataset, model=model, method=method, metric=labels, images=images,
                target=targets.get(name, usual), seed=seed + (name == SEED), ceiling="none",
                device=device, data_root=data_root, download=download, weights=weights,
                plugin=plugin, output=folder.path / (name or "base"), overwrite=overwrite,
                plots=False, progress=progress,
            )  # fmt: skip
        return study_stability(settings, runs, folder, seed)
