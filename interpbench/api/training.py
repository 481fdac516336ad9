"""Training, and the search for a learning rate."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from interpbench.api.arguments import Paths, names_of, paths_of
from interpbench.core.calls import job
from interpbench.core.progress_lines import lines_of_a_call

if TYPE_CHECKING:
    from interpbench.core.preparation import Preparation
    from interpbench.loading.stated import Numbers
    from interpbench.registry.choosing import Sources
    from interpbench.training.loop import TrainingStep
    from interpbench.training.plan import LearningRateSearch, TrainedModel, TrainingPlan


@job
def train(
    model: str,
    *,
    dataset: str = "planted",
    data_root: str | Path | None = None,
    download: bool = False,
    samples: str | Path | None = None,
    weights: str | Path | None = None,
    split: float | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    recipe: str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    size: int | None = None,
    seed: int | None = None,
    precision: str | None = None,
    device: str = "auto",
    output: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    plugin: Paths = None,
    progress: "Callable[[TrainingStep], None] | bool | None" = None,
) -> "TrainedModel":
    """Trains a model on a data set's train split, and writes its weights.

    The weights' card states the test accuracy.

    Parameters:
        model: one architecture, such as `resnet18:width=16`.
        dataset: with a train and a test split, or to be cut by `split`.
        data_root, download: for data sets that lie on disk.
        samples: as for `run`, of the images to train on; those to test on stay. With `split`, of
            all.
        weights: to start from: a file, or `imagenet` for those that come with the architecture. The
            last layer starts anew where they have another number of classes; images get the size
            and the normalisation of their input.
        preparation, mean, std: how images are normalised, as for `run`; by default as the weights
            or the data set say.
        split: the share of each class that is held out to test on, in 0..1, where the data are one
            folder of class folders.
        recipe: a bundled recipe or a TOML file; by default `fine-tune` with `weights`, else that of
            the shipped weights, if there are any. `in-domain` starts from `weights`, or else from
            those that a run would take.
        epochs, batch_size, lr, size, seed, precision: instead of the recipe's.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        output: the safetensors file; `<dataset>-<model>.safetensors` by default.
        resume: whether to go on with the unfinished training of `output`.
        overwrite: whether `output` may be replaced.
        plugin: files or folders with plugins.
        progress: called after each batch, and with notes on what you should know; or whether a line
            shows how it gets on, None shows it in IPython.

    Returns:
        the weights' file, its card with the accuracies, the record of the training, and notices.

    Raises:
        InterpBenchError: if the input is wrong, or the training breaks down.

    Example:
        >>> import interpbench
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> for split in ("train", "test"):
        ...     for colour in ("red", "blue"):
        ...         folder = Path("colours", split, colour)
        ...         folder.mkdir(parents=True)
        ...         for side in range(32, 36):
        ...             Image.new("RGB", (side, side), colour).save(folder / f"{side}.png")
        >>> trained = interpbench.train(
        ...     "resnet18:width=4", dataset="imagefolder:root=colours", epochs=1, batch_size=4,
        ...     size=32, device="cpu", output="colours.safetensors",
        ... )
        >>> trained.card.classes
        ('blue', 'red')
        >>> trained.card.notes["tested_on"]
        '8 images'
    """
    from interpbench.core.devices import resolve_device
    from interpbench.loading.stated import stated_by_user
    from interpbench.registry.choosing import Sources
    from interpbench.training.plan import train_as_planned

    changes = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "size": size,
        "seed": seed,
        "precision": precision,
    }
    sources = Sources(
        data_root,
        download,
        names_of(None if weights is None else str(weights)) or (),
        stated_by_user(preparation, mean=mean, std=std),
        samples=None if samples is None else Path(samples),
    )
    plan = _plan_training(model, (dataset, split), sources, recipe, changes, output, plugin)
    with _shown_steps(progress) as shown:
        return train_as_planned(
            plan, device=resolve_device(device), resume=resume, overwrite=overwrite, progress=shown
        )


@job
def find_lr(
    model: str,
    *,
    dataset: str = "planted",
    data_root: str | Path | None = None,
    download: bool = False,
    samples: str | Path | None = None,
    weights: str | Path | None = None,
    split: float | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    recipe: str | Path | None = None,
    batch_size: int | None = None,
    size: int | None = None,
    seed: int | None = None,
    precision: str | None = None,
    device: str = "auto",
    output: str | Path | None = None,
    plugin: Paths = None,
    progress: "Callable[[TrainingStep], None] | bool | None" = None,
) -> "LearningRateSearch":
    """Searches for a learning rate; writes the search beside where `train` would put the weights.

    Parameters:
        model, dataset, data_root, download, samples, weights, split, preparation, mean, std,
            recipe, batch_size, size, seed, precision, device, plugin: as for `train`.
        output: the weights' file; NAME.lr.csv and .png lie beside it.
        progress: called after each step; or as for `train`.

    Returns:
        the suggested learning rate, and the table of the search.

    Raises:
        InterpBenchError: if the input is wrong, or the loss never falls.

    Example:
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> import interpbench
        >>> for split in ("train", "test"):
        ...     for colour in ("red", "blue"):
        ...         folder = Path("colours", split, colour)
        ...         folder.mkdir(parents=True)
        ...         for side in range(32, 36):
        ...             Image.new("RGB", (side, side), colour).save(folder / f"{side}.png")
        >>> search = interpbench.find_lr(
        ...     "vgg11:width=2", dataset="imagefolder:root=colours", batch_size=4, size=32,
        ...     device="cpu", output="colours.safetensors",
        ... )
        >>> list(search.table.columns), search.record.name
        (['lr', 'loss', 'smoothed'], 'colours.lr.csv')
    """
    from interpbench.core.devices import resolve_device
    from interpbench.loading.stated import stated_by_user
    from interpbench.registry.choosing import Sources
    from interpbench.training.plan import search_as_planned

    changes = {"batch_size": batch_size, "size": size, "seed": seed, "precision": precision}
    sources = Sources(
        data_root,
        download,
        names_of(None if weights is None else str(weights)) or (),
        stated_by_user(preparation, mean=mean, std=std),
        samples=None if samples is None else Path(samples),
    )
    plan = _plan_training(model, (dataset, split), sources, recipe, changes, output, plugin)
    with _shown_steps(progress) as shown:
        return search_as_planned(plan, device=resolve_device(device), progress=shown)


def _plan_training(
    model: str,
    data: tuple[str, float | None],
    sources: "Sources",
    recipe: str | Path | None,
    changes: Mapping[str, int | float | str | None],
    output: str | Path | None,
    plugin: Paths,
) -> "TrainingPlan":
    from interpbench.registry.discovery import discover
    from interpbench.training.plan import plan_training

    dataset, split = data
    named = None if recipe is None else str(recipe)
    where = None if output is None else Path(output)
    return plan_training(
        discover(paths_of(plugin)),
        model,
        dataset,
        sources,
        recipe=named,
        changes=changes,
        output=where,
        split=split,
    )


@contextmanager
def _shown_steps(
    progress: "Callable[[TrainingStep], None] | bool | None",
) -> "Iterator[Callable[[TrainingStep], None]]":
    """What is told how a training gets on."""
    from interpbench.training.step_lines import StepLines

    if progress is not None and not isinstance(progress, bool):
        yield progress
        return
    lines = lines_of_a_call(progress, "steps")
    if lines is None:
        yield lambda step: None
    else:
        with lines:
            yield StepLines(lines)
