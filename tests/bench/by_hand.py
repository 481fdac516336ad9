"""What a user does without this project: five methods by captum, each map scored by RISE's code.

    python -m tests.bench.by_hand IMAGES OUT.csv

explains the images of a folder (a folder a class) by the shipped ResNet-18 of CIFAR-10, everything at the batch sizes
that are best for it, and writes the mean scores of each method.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from interpbench import baseline
from interpbench.core.devices import default_batch_size
from interpbench.core.types import Model
from interpbench.loading.dataset import open_dataset
from interpbench.loading.model import load_model
from interpbench.registry.choosing import Sources, choose_dataset
from interpbench.registry.discovery import discover
from tests.bench import peers
from tests.bench.timing import DEVICE

METHODS = ("gradcam", "guided-backprop", "integrated-gradients", "occlusion", "saliency")
STEPS = 32
SIZE = 32


def dataset(folder: Path) -> str:
    """The folder as a run names it, as images of CIFAR-10."""
    return f"imagefolder:root={folder},name=cifar10,size={SIZE}"


def shipped(folder: Path) -> Model:
    """The network that a run takes for these images."""
    registry = discover()
    card = open_dataset(choose_dataset(registry, dataset(folder), Sources()), None).card
    return load_model(registry.configure("model", "resnet18"), card).to(DEVICE)


def images(folder: Path, model: Model) -> Tensor:
    """float32 [N,3,32,32], normalised."""
    files = sorted(folder.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    preparation = model.card.preparation
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (preparation.mean, preparation.std)
    )
    return (
        ((torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - mean) / std).contiguous().to(DEVICE)
    )


def maps(name: str, model: Model, x: Tensor, target: Tensor) -> Tensor:
    """[B,H,W], by captum, a full batch a pass: its best."""
    if name == "gradcam":
        return peers.captum_gradcam(model, x, target)
    if name == "guided-backprop":
        return peers.captum_guided_backprop(model, x, target)
    if name == "integrated-gradients":
        return peers.captum_integrated_gradients(model, x, target, at_once=len(x)).float()
    if name == "occlusion":
        return peers.captum_occlusion(model, x, target, at_once=1)
    return peers.captum_saliency(model, x, target)


def main(folder: Path, out: Path) -> None:
    model = shipped(folder)
    x = images(folder, model)
    with torch.no_grad():
        target = model(x).argmax(1)
    size = default_batch_size(SIZE, DEVICE)
    rows = []
    for name in METHODS:
        for part, classes in zip(x.split(size), target.split(size), strict=True):
            saliency = maps(name, model, part, classes).detach()
            blurred = baseline("blur", part, model.card)
            stride = SIZE * SIZE // STEPS
            for metric, curves in zip(
                ("deletion", "insertion"),
                peers.rise_evaluate(model, part, blurred, saliency, classes, stride, size),
                strict=True,
            ):
                areas = torch.trapezoid(curves, dim=1) / (curves.shape[1] - 1)
                rows += [
                    {"method": name, "metric": metric, "value": area} for area in areas.tolist()
                ]
    table = pd.DataFrame(rows).groupby(["method", "metric"], as_index=False).mean()
    table.to_csv(out, index=False, lineterminator="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
