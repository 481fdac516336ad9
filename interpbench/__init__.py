"""InterpBench: a plugin-based benchmark suite for interpretability methods in computer vision.

`method`, `model`, `dataset` and `metric` register plugins; `run` and `load_run` are the command line in Python.
Names are imported when they are first used, so that `import interpbench` does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from interpbench.registry import dataset, method, metric, model

if TYPE_CHECKING:
    from interpbench.api import Run, load_run, run
    from interpbench.baselines import Baseline, baseline
    from interpbench.contracts import (
        Dataset,
        DatasetCard,
        Explanation,
        Model,
        ModelCard,
        Perturbation,
        Sample,
    )
    from interpbench.errors import DataError, ParameterError, UnreadableImageError, WeightsError, unknown_name
    from interpbench.folders import ImageFolder, class_folders
    from interpbench.images import read_image
    from interpbench.layers import as_maps
    from interpbench.pretrained import Pretrained

__version__ = "0.1.0"

_HOMES = {
    "run": "api",
    "load_run": "api",
    "Run": "api",
    "Dataset": "contracts",
    "DatasetCard": "contracts",
    "Explanation": "contracts",
    "Model": "contracts",
    "ModelCard": "contracts",
    "Perturbation": "contracts",
    "Sample": "contracts",
    "Baseline": "baselines",
    "baseline": "baselines",
    "DataError": "errors",
    "ParameterError": "errors",
    "UnreadableImageError": "errors",
    "WeightsError": "errors",
    "unknown_name": "errors",
    "ImageFolder": "folders",
    "class_folders": "folders",
    "read_image": "images",
    "as_maps": "layers",
    "Pretrained": "pretrained",
}

__all__ = [
    "Baseline",
    "DataError",
    "Dataset",
    "DatasetCard",
    "Explanation",
    "ImageFolder",
    "Model",
    "ModelCard",
    "ParameterError",
    "Perturbation",
    "Pretrained",
    "Run",
    "Sample",
    "UnreadableImageError",
    "WeightsError",
    "as_maps",
    "baseline",
    "class_folders",
    "dataset",
    "load_run",
    "method",
    "metric",
    "model",
    "read_image",
    "run",
    "unknown_name",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"interpbench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'interpbench' has no attribute {name!r}")
