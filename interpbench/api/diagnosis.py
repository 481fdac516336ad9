"""Whether a model can be explained, and whether a plugin keeps its promises."""

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
from interpbench.core.calls import job
from interpbench.core.errors import DataError

if TYPE_CHECKING:
    from interpbench.core.preparation import Preparation, Size
    from interpbench.diagnosis.study import DoctorsReport
    from interpbench.loading.in_memory import Images, Models
    from interpbench.loading.stated import Numbers
    from interpbench.testing import CheckedPlugin


@job
def doctor(
    model: "Models",
    *,
    dataset: "str | Images | None" = None,
    images: "Images | None" = None,
    weights: str | Path | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    seed: int = 0,
    device: str = "auto",
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
) -> "DoctorsReport":
    """Finds what makes methods go wrong on a model.

    And what of it can be repaired, on a copy with the same answers.

    Parameters:
        model: one model, such as `resnet18:width=16`, or `FILE.py:FUNCTION`; or a module, of which
            a copy is examined.
        dataset: whose first images are used; `planted` by default.
        images: in memory, as for `run`, instead of a data set.
        weights: a file or `random`; what is shipped, or torchvision's, by default.
        outputs, preparation, mean, std, size, resize: as for `run`.
        data_root, download: for data sets that lie on disk.
        seed: of random weights, and of all chance.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        plugin: files or folders with plugins.
        output: a folder for layers.csv, layers.png and doctor.json; nothing is written by default.
            `overwrite` replaces what the same call wrote there.

    Returns:
        the diagnosis, the repairs, and which methods are ruled out for good; `healthy` if none is.
        `layers` has the mean and the spread of activations and of gradients of each layer, the
        share of units that never fire and of saturated ones, over up to 32 images.

    Raises:
        InterpBenchError: if the input is wrong. What is wrong with the model is found instead.

    Example:
        >>> import interpbench
        >>> report = interpbench.doctor("resnet18", dataset="planted", device="cpu")
        >>> report.healthy, report.image_size
        (True, (64, 64))
        >>> [finding.kind for finding in report.diagnosis.findings]
        ['in-place activation', 'reused activation']
        >>> [layer.layer for layer in report.layers][:3], report.layers[2].dead
        (['conv1', 'bn1', 'relu'], 0.0)
    """
    from interpbench.core.devices import resolve_device
    from interpbench.diagnosis.study import examine_and_repair

    handed = hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std, size, resize
    )
    name, text = handed.model(model), handed.dataset(dataset, images)
    if text is None and not isinstance(model, str):
        raise DataError(
            f"On which images is {name!r} to be examined? Give a few, images=x[:2], or a data set."
        )
    where = resolve_device(device)
    report = examine_and_repair(
        handed.registry, name, text or "planted", handed.sources, device=where, seed=seed
    )
    if output is not None:
        from interpbench.studies.layers.report import write_layers

        write_layers(report, destination_of(output, overwrite))
    return report


@job
def check(
    what: str | Path,
    *,
    method: Names = None,
    metric: Names = None,
    model: Names = None,
    dataset: Names = None,
    plugin: Paths = None,
    progress: Shown = None,
) -> "list[CheckedPlugin]":
    """Tries what every method, metric, model or data set promises.

    Methods and metrics on three small models, models on noise, data sets on some of their samples.

    Parameters:
        what: a plugin file, a folder of them, or plugins of one kind by their names,
            `occlusion:window=8`.
        method, metric, model, dataset: only these of the file, `mine:samples=5`.
        plugin: further files or folders with plugins.
        progress: told how it gets on; it counts plugins.

    Returns:
        for each how its contracts came out: `outcomes`, and those that it breaks: `broken`.

    Raises:
        InterpBenchError: if there is no such file or plugin. What one does wrong is found instead.

    Example:
        >>> import interpbench
        >>> [checked] = interpbench.check("occlusion:window=8,stride=8")
        >>> checked.label, checked.broken
        ('occlusion:stride=8,window=8', ())
    """
    from interpbench.testing import check

    with showing(progress) as shown:
        return check(
            what,
            method=names_of(method),
            metric=names_of(metric),
            model=names_of(model),
            dataset=names_of(dataset),
            plugin=paths_of(plugin),
            progress=shown,
        )
