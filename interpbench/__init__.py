"""InterpBench: a plugin-based benchmark suite for interpretability methods in computer vision.

`method`, `model`, `dataset`, `metric`, `reference` and `metric_reference` register plugins; `run`,
`forecast`, `load_run`, `explain`, `gallery`, `occlude`, `visualise`, `sanity`, `judge`,
`stability`, `advise`, `conformance`, `doctor`, `check`, `train` and `find_lr` are the command line
in Python. Names are imported when they are first used, so that `import interpbench` does not import
torch.
"""

import sys

# As `python -m interpbench`, before anything else is imported.
if sys.argv[:1] == ["-m"] and any(arg.split(".")[0] == "interpbench" for arg in sys.orig_argv):
    from interpbench.core.safe_path import leave_out_current_folder

    leave_out_current_folder(__path__[0])

import importlib
from typing import TYPE_CHECKING, Any

from interpbench.registry.registry import (
    dataset,
    method,
    metric,
    metric_reference,
    model,
    reference,
)

if TYPE_CHECKING:
    from interpbench.api import (
        advise,
        check,
        conformance,
        doctor,
        explain,
        find_lr,
        forecast,
        gallery,
        judge,
        merge,
        occlude,
        run,
        sanity,
        stability,
        train,
        visualise,
    )
    from interpbench.core.errors import (
        DataError,
        MethodError,
        ParameterError,
        UnreadableImageError,
        WeightsError,
        unknown_name,
    )
    from interpbench.core.layers import as_maps
    from interpbench.core.preparation import Preparation
    from interpbench.core.types import (
        IGNORE,
        Dataset,
        DatasetCard,
        Model,
        ModelCard,
        Pretrained,
        Sample,
    )
    from interpbench.fast.occlusion.occluded_outputs import occluded_outputs
    from interpbench.files.versions import __version__
    from interpbench.loading.image_files import read_image, read_segmentation
    from interpbench.loading.image_folder import ImageFolder, class_folders
    from interpbench.loading.image_rows import ImageRows
    from interpbench.report.run import Run, load_run
    from interpbench.running.execute import Listener
    from interpbench.scoring.curves import area
    from interpbench.scoring.explanation import Explanation, Inputs, Readings
    from interpbench.scoring.parts import (
        PartSets,
        Size,
        cells,
        drops,
        each_part,
        outputs_without,
        part_count,
        random_sets,
        rank_groups,
        readings_without,
    )
    from interpbench.scoring.perturbation import First, Network, Output, Perturbation, Sign
    from interpbench.toolbox.backward_rules import (
        ELEMENTWISE,
        MOVING,
        Operation,
        Rule,
        batch_norm_as_affine,
        run_with_rules,
        with_backward,
    )
    from interpbench.toolbox.baselines import Baseline, baseline, uniform_images
    from interpbench.toolbox.correlation import pearson, spearman
    from interpbench.toolbox.imputation import linear_imputation
    from interpbench.toolbox.layer_outputs import (
        activations_and_gradients,
        layer_activations,
        logits_with_scaled_channels,
    )
    from interpbench.toolbox.randomise import randomisable_layers, randomised
    from interpbench.toolbox.shifted_input import undoing_shift
    from interpbench.toolbox.similarity import histogram_entropy, ssim
    from interpbench.toolbox.superpixels import superpixels
    from interpbench.toolbox.variants import blocks, target_gradients, target_outputs


_HOMES = {
    "__version__": "files.versions",
    "advise": "api",
    "check": "api",
    "conformance": "api",
    "doctor": "api",
    "explain": "api",
    "find_lr": "api",
    "forecast": "api",
    "gallery": "api",
    "judge": "api",
    "merge": "api",
    "occlude": "api",
    "run": "api",
    "sanity": "api",
    "stability": "api",
    "train": "api",
    "visualise": "api",
    "load_run": "report.run",
    "Run": "report.run",
    "IGNORE": "core.types",
    "Dataset": "core.types",
    "Listener": "running.execute",
    "DatasetCard": "core.types",
    "Explanation": "scoring.explanation",
    "Inputs": "scoring.explanation",
    "Model": "core.types",
    "ModelCard": "core.types",
    "Perturbation": "scoring.perturbation",
    "First": "scoring.perturbation",
    "Network": "scoring.perturbation",
    "Output": "scoring.perturbation",
    "Sign": "scoring.perturbation",
    "PartSets": "scoring.parts",
    "area": "scoring.curves",
    "cells": "scoring.parts",
    "drops": "scoring.parts",
    "Size": "scoring.parts",
    "each_part": "scoring.parts",
    "rank_groups": "scoring.parts",
    "outputs_without": "scoring.parts",
    "readings_without": "scoring.parts",
    "Readings": "scoring.explanation",
    "part_count": "scoring.parts",
    "random_sets": "scoring.parts",
    "pearson": "toolbox.correlation",
    "spearman": "toolbox.correlation",
    "Preparation": "core.preparation",
    "Sample": "core.types",
    "layer_activations": "toolbox.layer_outputs",
    "activations_and_gradients": "toolbox.layer_outputs",
    "logits_with_scaled_channels": "toolbox.layer_outputs",
    "ELEMENTWISE": "toolbox.backward_rules",
    "MOVING": "toolbox.backward_rules",
    "Operation": "toolbox.backward_rules",
    "Rule": "toolbox.backward_rules",
    "batch_norm_as_affine": "toolbox.backward_rules",
    "run_with_rules": "toolbox.backward_rules",
    "with_backward": "toolbox.backward_rules",
    "Baseline": "toolbox.baselines",
    "baseline": "toolbox.baselines",
    "uniform_images": "toolbox.baselines",
    "linear_imputation": "toolbox.imputation",
    "randomisable_layers": "toolbox.randomise",
    "randomised": "toolbox.randomise",
    "histogram_entropy": "toolbox.similarity",
    "ssim": "toolbox.similarity",
    "superpixels": "toolbox.superpixels",
    "undoing_shift": "toolbox.shifted_input",
    "DataError": "core.errors",
    "MethodError": "core.errors",
    "ParameterError": "core.errors",
    "UnreadableImageError": "core.errors",
    "WeightsError": "core.errors",
    "unknown_name": "core.errors",
    "ImageFolder": "loading.image_folder",
    "ImageRows": "loading.image_rows",
    "class_folders": "loading.image_folder",
    "read_image": "loading.image_files",
    "read_segmentation": "loading.image_files",
    "as_maps": "core.layers",
    "occluded_outputs": "fast.occlusion.occluded_outputs",
    "Pretrained": "core.types",
    "blocks": "toolbox.variants",
    "target_gradients": "toolbox.variants",
    "target_outputs": "toolbox.variants",
}

__all__ = [
    "ELEMENTWISE",
    "IGNORE",
    "MOVING",
    "Baseline",
    "DataError",
    "Dataset",
    "DatasetCard",
    "Explanation",
    "First",
    "ImageFolder",
    "ImageRows",
    "Inputs",
    "Listener",
    "MethodError",
    "Model",
    "ModelCard",
    "Network",
    "Operation",
    "Output",
    "ParameterError",
    "PartSets",
    "Perturbation",
    "Preparation",
    "Pretrained",
    "Readings",
    "Rule",
    "Run",
    "Sample",
    "Sign",
    "Size",
    "UnreadableImageError",
    "WeightsError",
    "__version__",
    "activations_and_gradients",
    "advise",
    "area",
    "as_maps",
    "baseline",
    "batch_norm_as_affine",
    "blocks",
    "cells",
    "check",
    "class_folders",
    "conformance",
    "dataset",
    "doctor",
    "drops",
    "each_part",
    "explain",
    "find_lr",
    "forecast",
    "gallery",
    "histogram_entropy",
    "judge",
    "layer_activations",
    "linear_imputation",
    "load_run",
    "logits_with_scaled_channels",
    "merge",
    "method",
    "metric",
    "metric_reference",
    "model",
    "occlude",
    "occluded_outputs",
    "outputs_without",
    "part_count",
    "pearson",
    "random_sets",
    "randomisable_layers",
    "randomised",
    "rank_groups",
    "read_image",
    "read_segmentation",
    "readings_without",
    "reference",
    "run",
    "run_with_rules",
    "sanity",
    "spearman",
    "ssim",
    "stability",
    "superpixels",
    "target_gradients",
    "target_outputs",
    "train",
    "undoing_shift",
    "uniform_images",
    "unknown_name",
    "visualise",
    "with_backward",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"interpbench.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'interpbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
