"""Pictures: maps of images, the occlusion experiment, what units answer to."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interpbench.api.arguments import (
    Paths,
    Shown,
    destination_of,
    hand,
    paths_of,
    showing,
    texts_of,
)
from interpbench.core.calls import job

if TYPE_CHECKING:
    from interpbench.core.preparation import Preparation, Size
    from interpbench.core.types import Dataset
    from interpbench.loading.in_memory import Handed, Images, Methods, Models
    from interpbench.loading.stated import Numbers
    from interpbench.studies.occlusion.study import Occluded
    from interpbench.studies.pictures.explain import Explained
    from interpbench.studies.pictures.gallery import Gallery
    from interpbench.studies.visualisation.study import Visualised


@job
def explain(
    images: "str | Path | Sequence[str | Path] | Images",
    *,
    model: "Models | None" = None,
    method: "Methods | None" = None,
    target: str | int = "predicted",
    weights: str | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    dataset: str | None = None,
    range: float | None = None,
    classes: Sequence[str] | None = None,
    alpha: float | str | Sequence[float] = 0.8,
    cmap: str | None = None,
    signed: bool | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Explained":
    """Explains images of one's own.

    Writes a panel an image, with predictions and each method's map, and the maps as .npy.

    Parameters:
        images: image files, or folders of them; or images in memory, as for `run`. Where no file is
            called so, `astronaut`, `cat`, `coffee` and `rocket` stand for photographs that are
            shipped.
        model, method: as on the command line, or in memory, as for `run`; methods may be several,
            and `all`. By default `efficientnet_lite0`, a network of ImageNet's 1000 classes, and
            five methods.
        target: the class to explain: `predicted`, a class name, or a logit's index.
        weights: a file, `random`, or None for those that are shipped, or torchvision's.
        outputs, preparation, mean, std, size, resize: as for `run`.
        dataset: names the data set whose weights are meant.
        range: the value that is white in images of more than 8 bits, such as 4095 for 12 bits in
            16; None for the greatest that their type can hold.
        classes: names of the model's logits, where it does not know them itself.
        alpha: opacity of the maps where they are strongest, 0..1. Several, `"0.3,0.6,0.9"` or a
            list, are drawn side by side, a row a method.
        cmap: a colour map of matplotlib's.
        signed: True for colours that diverge from 0, False for |s|, None for each map by its own
            signs.
        seed: of every random choice.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        data_root, download: for data sets that lie on disk.
        plugin: files or folders with plugins.
        output: the folder; results/explain/<model>-N by default. `overwrite` replaces what the same
            call wrote there.
        progress: told how it gets on; or whether a line shows it, None shows it in IPython.

    Raises:
        InterpBenchError: if the input is wrong. A method that fails is named in `outcome.failures`.

    Example:
        >>> import interpbench
        >>> import numpy as np
        >>> from PIL import Image
        >>> Image.new("RGB", (80, 60), "red").save("red.png")
        >>> explained = interpbench.explain(
        ...     "red.png", model="resnet18", dataset="planted", method="saliency", device="cpu",
        ...     output="explained",
        ... )
        >>> explained.complete
        True
        >>> sorted(file.name for file in explained.folder.iterdir())
        ['explain.json', 'maps', 'red.png']
        >>> np.load(explained.folder / "maps" / "red" / "saliency.npy").shape
        (64, 64)
    """
    from interpbench.attribution.explainer import Explainer
    from interpbench.core.devices import Computing
    from interpbench.drawing.overlay import looks_of
    from interpbench.studies.pictures.explain import METHODS, MODEL, explain_files

    looks = looks_of(alpha, cmap, signed)
    handed = hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std, size, resize
    )
    files = _pictures(handed, images, dataset, range)
    name, methods = (
        handed.model(MODEL if model is None else model),
        handed.names("method", method) or METHODS,
    )
    data = handed.data_of(name, dataset, classes)
    explainer = Explainer.load(
        handed.registry, name, methods, data, handed.sources, Computing.of(device), seed
    )
    to = destination_of(output, overwrite)
    with showing(progress) as shown:
        return explain_files(
            files, explainer, target=str(target), looks=looks, to=to, progress=shown
        )


@job
def gallery(
    dataset: "str | Images",
    *,
    model: "Models",
    method: "Methods",
    only: str = "misclassified",
    count: int = 20,
    images: int | None = None,
    samples: str | Path | None = None,
    weights: str | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    alpha: float = 0.8,
    cmap: str | None = None,
    signed: bool | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Gallery":
    """Draws a data set's samples with maps for the predicted and the true class.

    Writes the confusion matrix as well.

    Parameters:
        dataset, model, method: as on the command line, or in memory, as for `run`: a data set, or a
            pair of images and labels; methods may be several, and `all`.
        only: `misclassified` samples, with those first of which the model is most certain;
            `correct` ones, or `all`, as a seeded, class-balanced choice.
        count: how many samples are drawn, at most.
        images: how many samples are classified, class-balanced; None for all.
        samples: a file of the samples that may be among them, as for `run`.
        weights, outputs, preparation, mean, std, size, resize, alpha, cmap, signed, seed, device,
            data_root, download, plugin, output, overwrite, progress: as for `explain`.

    Raises:
        InterpBenchError: if the input is wrong. A method that fails is named in `outcome.failures`.

    Example:
        >>> import interpbench
        >>> drawn = interpbench.gallery(
        ...     "planted", model="resnet18", method="saliency", only="all", count=2, images=4,
        ...     device="cpu", output="two-samples",
        ... )
        >>> drawn.summary.classified, drawn.summary.drawn
        (4, 2)
        >>> (drawn.folder / "gallery-01.png").is_file()
        True
    """
    from interpbench.attribution.explainer import Explainer
    from interpbench.core.devices import Computing
    from interpbench.drawing.overlay import look_of
    from interpbench.loading.dataset import open_dataset
    from interpbench.registry.choosing import choose_dataset
    from interpbench.studies.pictures.gallery import SampleChoice, draw_gallery
    from interpbench.studies.pictures.predictions import check_only

    check_only(only)
    look = look_of(alpha, cmap, signed)
    handed = hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std, size, resize
    )
    text = handed.dataset(dataset) or ""
    listed = None if samples is None else Path(samples)
    data = open_dataset(choose_dataset(handed.registry, text, handed.sources), listed)
    name, methods = handed.model(model), handed.names("method", method) or ()
    explainer = Explainer.load(
        handed.registry, name, methods, data.card, handed.sources, Computing.of(device), seed
    )
    with showing(progress) as shown:
        return draw_gallery(
            data,
            explainer,
            SampleChoice(only, count, images),
            dataset=text,
            look=look,
            to=destination_of(output, overwrite),
            progress=shown,
        )


@job
def occlude(
    images: "str | Path | Sequence[str | Path] | Images",
    *,
    model: "Models | None" = None,
    window: int | None = None,
    stride: int | None = None,
    fill: str = "zero",
    target: str | int = "predicted",
    weights: str | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    size: "Size | str | None" = None,
    resize: int | None = None,
    dataset: str | None = None,
    range: float | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Occluded":
    """Moves a window over images, and watches what the model says.

    The experiment of Zeiler and Fergus (Visualizing and Understanding Convolutional Networks, ECCV
    2014, figure 7): the probability of a class as a function of where the window is, and the class
    that is then the most probable. Writes a strip, a film (GIF) and a table for each image.

    Parameters:
        images, model, target, weights, outputs, preparation, mean, std, size, resize, dataset,
            range, classes, seed, device, data_root, download, plugin, output, overwrite, progress:
            as for `explain`.
        window: side of the window in pixels of the model's input; a fifth of it by default.
        stride: how far it moves at a time; half a window by default.
        fill: what stands in it: `zero` (the colour that the model is normalised by), `black`,
            `white`, `mean` (the image's mean colour), `blur` or `gaussian-blur`.

    Raises:
        InterpBenchError: if the input is wrong.

    Example:
        >>> import interpbench
        >>> from PIL import Image
        >>> Image.new("RGB", (80, 60), "red").save("red.png")
        >>> found = interpbench.occlude(
        ...     "red.png", model="resnet18", dataset="planted", window=32, stride=16, device="cpu",
        ...     output="occluded",
        ... )
        >>> sorted(file.name for file in found.folder.iterdir())
        ['occlude.json', 'red.csv', 'red.gif', 'red.png']
        >>> found.probabilities().shape  # windows at 0, 16 and 32, of 64 pixels
        (3, 3)
    """
    from interpbench.attribution.explainer import Explainer
    from interpbench.core.devices import Computing
    from interpbench.studies.occlusion.study import occlude_files
    from interpbench.studies.occlusion.sweep import known_fill
    from interpbench.studies.pictures.explain import MODEL

    moves = window, stride, known_fill(fill)
    handed = hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std, size, resize
    )
    files = _pictures(handed, images, dataset, range)
    name = handed.model(MODEL if model is None else model)
    data = handed.data_of(name, dataset, classes)
    explainer = Explainer.load(
        handed.registry, name, (), data, handed.sources, Computing.of(device), seed
    )
    to = destination_of(output, overwrite)
    with showing(progress) as shown:
        return occlude_files(files, explainer, moves, target=str(target), to=to, progress=shown)


@job
def visualise(
    model: "Models | None" = None,
    *,
    layer: str | None = None,
    channel: int | str | Sequence[int | str] | None = None,
    target: int | str | Sequence[int | str] | None = None,
    objective: str = "channel",
    steps: int = 256,
    size: "Size | str | None" = None,
    weights: str | None = None,
    outputs: str | None = None,
    preparation: "str | Path | Preparation | None" = None,
    mean: "Numbers | None" = None,
    std: "Numbers | None" = None,
    dataset: str | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    device: str = "auto",
    data_root: str | Path | None = None,
    download: bool = False,
    plugin: Paths = None,
    output: str | Path | None = None,
    overwrite: bool = False,
    progress: Shown = None,
) -> "Visualised":
    """Makes images that channels, neurons or classes of a model answer to most.

    Gradient ascent on the Fourier coefficients of an image in decorrelated colours, under random
    shifts, scales and turns (Olah, Mordvintsev, Schubert, Feature Visualization, Distill 2017). The
    pictures show what raises a unit, not what it is for: data may never hold such a thing, and one
    picture shows one of many.

    Parameters:
        model: as on the command line, or in memory, as for `run`; `efficientnet_lite0` by default.
        layer: dotted name of a layer; by default the one that CAM methods look at.
        channel: of the layer, one or several, `3` or `"3,7"`.
        target: classes, by name or by their logit's index, one or several.
        objective: of a channel, `channel`: its mean over all positions; `neuron`: its position in
            the middle. Of a class it is the logit.
        steps: of the ascent.
        size: side of the images in pixels, or (height, width); the model's own by default. Of a
            module in memory it is its input's size.
        weights, outputs, preparation, mean, std, dataset, classes, device, data_root, download,
            plugin, overwrite, progress: as for `explain`.
        seed: of the noise that the images begin with, and of the transformations. On a CPU the same
            call writes the same bytes.
        output: the folder; results/visualise/<model>-N by default.

    Raises:
        InterpBenchError: if the input is wrong.

    Example:
        A channel that answers to red, and to nothing else:

        >>> import interpbench
        >>> network = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 2, 1, bias=False), torch.nn.AvgPool2d(8), torch.nn.Flatten())
        >>> _ = torch.nn.init.zeros_(network[0].weight)
        >>> network[0].weight.data[1, 0] = 1.0
        >>> found = interpbench.visualise(
        ...     network, layer="0", channel=1, size=8, mean=0.5, std=0.25, steps=200, device="cpu",
        ...     output="red",
        ... )
        >>> [unit.name for unit in found.units], found.image().shape
        (['channel 1'], (8, 8, 3))
        >>> found.units[0].reached > 1 > abs(found.units[0].start)  # of at most (1 - 0.5) / 0.25
        True
    """
    from interpbench.attribution.explainer import Explainer
    from interpbench.core.devices import Computing
    from interpbench.loading.stated import stated_by_user
    from interpbench.studies.visualisation.study import MODEL, Asked, planned, visualise_units

    in_memory = not isinstance(model, str | None)
    handed = hand(
        plugin, (data_root, download), (weights, outputs), preparation, mean, std,
        size if in_memory else None, None,
    )  # fmt: skip
    name = handed.model(MODEL if model is None else model)
    data = handed.data_of(name, dataset, classes)
    explainer = Explainer.load(
        handed.registry, name, (), data, handed.sources, Computing.of(device), seed
    )
    asked = Asked(layer, texts_of(channel), texts_of(target), objective)
    ascent = planned(explainer, steps, stated_by_user(size=size).size)
    with showing(progress) as shown:
        return visualise_units(explainer, asked, ascent, destination_of(output, overwrite), shown)


def _pictures(
    handed: "Handed",
    images: "str | Path | Sequence[str | Path] | Images",
    dataset: str | None,
    white: float | None,
) -> "Dataset":
    """Images that are named, or in memory, whatever their classes.

    Parameters:
        handed: takes those in memory.
        images: see `explain`.
        dataset: as which images are read, if one is named.
        white: the value that is white; None for what is said of the data set's files.
    """
    from interpbench.studies.pictures.images import Files, find_files

    if not _are_paths(images):
        return handed.images(images)
    paths = find_files([Path(path) for path in paths_of(images)])
    if white is None and isinstance(dataset, str):
        white = handed.range_of(dataset)
    return Files(paths, range=white)


def _are_paths(images: object) -> bool:
    """Whether images are named rather than given."""
    several = images if isinstance(images, list | tuple) else [images]
    return all(isinstance(image, str | Path) for image in several)
