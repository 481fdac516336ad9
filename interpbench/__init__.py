"""InterpBench: a plugin-based benchmark suite for interpretability methods in computer vision.

`method`, `model`, `dataset`, `metric` and `reference` register plugins; `run` and `load_run` are the command line in
Python. Names are imported when they are first used, so that `import interpbench` does not import torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from interpbench.registry import dataset, method, metric, model, reference

if TYPE_CHECKING:
    from interpbench.api import Run, load_run, run
    from interpbench.backward import (
        ELEMENTWISE,
        MOVING,
        Operation,
        Rule,
        batch_norm_as_affine,
        run_with_rules,
        with_backward,
    )
    from interpbench.baselines import Baseline, baseline, uniform_images
    from interpbench.contracts import (
        Dataset,
        DatasetCard,
        Explanation,
        Model,
        ModelCard,
        Perturbation,
        Sample,
    )
    from interpbench.errors import (
        DataError,
        MethodError,
        ParameterError,
        UnreadableImageError,
        WeightsError,
        unknown_name,
    )
    from interpbench.folders import ImageFolder, class_folders
    from interpbench.images import read_image
    from interpbench.incremental import occluded_outputs
    from interpbench.layer_maps import activations_and_gradients, layer_activations, logits_with_scaled_channels
    from interpbench.layers import as_maps
    from interpbench.pretrained import Pretrained
    from interpbench.samples import blocks, target_gradients, target_outputs

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
    "layer_activations": "layer_maps",
    "activations_and_gradients": "layer_maps",
    "logits_with_scaled_channels": "layer_maps",
    "ELEMENTWISE": "backward",
    "MOVING": "backward",
    "Operation": "backward",
    "Rule": "backward",
    "batch_norm_as_affine": "backward",
    "run_with_rules": "backward",
    "with_backward": "backward",
    "Baseline": "baselines",
    "baseline": "baselines",
    "uniform_images": "baselines",
    "DataError": "errors",
    "MethodError": "errors",
    "ParameterError": "errors",
    "UnreadableImageError": "errors",
    "WeightsError": "errors",
    "unknown_name": "errors",
    "ImageFolder": "folders",
    "class_folders": "folders",
    "read_image": "images",
    "as_maps": "layers",
    "occluded_outputs": "incremental",
    "Pretrained": "pretrained",
    "blocks": "samples",
    "target_gradients": "samples",
    "target_outputs": "samples",
}

__all__ = [
    "ELEMENTWISE",
    "MOVING",
    "Baseline",
    "DataError",
    "Dataset",
    "DatasetCard",
    "Explanation",
    "ImageFolder",
    "MethodError",
    "Model",
    "ModelCard",
    "Operation",
    "ParameterError",
    "Perturbation",
    "Pretrained",
    "Rule",
    "Run",
    "Sample",
    "UnreadableImageError",
    "WeightsError",
    "activations_and_gradients",
    "as_maps",
    "baseline",
    "batch_norm_as_affine",
    "blocks",
    "class_folders",
    "dataset",
    "layer_activations",
    "load_run",
    "logits_with_scaled_channels",
    "method",
    "metric",
    "model",
    "occluded_outputs",
    "read_image",
    "reference",
    "run",
    "run_with_rules",
    "target_gradients",
    "target_outputs",
    "uniform_images",
    "unknown_name",
    "with_backward",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"interpbench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'interpbench' has no attribute {name!r}")
