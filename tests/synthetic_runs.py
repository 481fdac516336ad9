"""Run folders of runs that never happened, of any size, as a run writes them: to see how tables grow.

python -m tests.synthetic_runs FOLDER IMAGES METHODS MODELS
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from interpbench.results.cell_results import CellResult, ModelResult
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import CellRecord, ModelRecord, RunInfo
from interpbench.suite.cells import CURVE_COLUMNS, SCORE_COLUMNS, Cell
from interpbench.suite.suite import Suite
from tests.synthetic_tables import METRICS

CLASSES, STEPS, SIDE, EXAMPLES = 10, 32, 32, 3
CONTROLS = ("center", "random")
MODELS = ("alexnet", "resnet18", "vgg11_bn")


def write_run(folder: Path, *, images: int, methods: int = 4, models: int = 1) -> RunFolder:
    """A finished run on `images` images, by all of METRICS, with a ceiling of those that have curves.

    Its tables are not put together yet: see `RunFolder.assemble`.
    """
    run = RunFolder(folder)
    names = [*CONTROLS, *(f"method-{i:02d}" for i in range(methods - len(CONTROLS)))]
    ids = tuple(f"planted-test-{i:06d}" for i in range(images))
    labels = np.arange(images) % CLASSES
    cells = [Cell("planted", model, name) for model in MODELS[:models] for name in names]
    cells += [
        Cell.ceiling("planted", model, metric)
        for model in MODELS[:models]
        for metric, about in METRICS.items()
        if about["curve"]
    ]
    with run.writing("new"):
        run.write_info(_info(ids, names, MODELS[:models], cells))
        for model in MODELS[:models]:
            run.write_model(_model(model, ids))
        for number, cell in enumerate(cells):
            run.write_cell(_cell(cell, ids, labels, number))
    return run


def _text(metric: str) -> str:
    return f"metric: {metric}\n"


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _info(
    ids: tuple[str, ...], methods: list[str], models: tuple[str, ...], cells: list[Cell]
) -> RunInfo:
    settings = Suite(
        name="grown", version=1, dataset="planted", models=models, methods=tuple(methods), metrics=tuple(METRICS),
        images=len(ids), steps=STEPS, ceiling=2, seed=3,
    )  # fmt: skip
    plugins = {
        f"{kind} {name}": {"source_hash": _digits(name), "parameters": {}}
        for kind, named in (
            ("method", methods),
            ("model", models),
            ("metric", METRICS),
            ("dataset", ["planted"]),
        )
        for name in named
    }
    return RunInfo.model_validate(
        {
            "schema_version": 1,
            "status": "finished",
            "suite": {"name": "grown", "version": 1, "hash": settings.hash, "changed": False},
            "settings": settings,
            "command": ["interpbench", "run"],
            "started": "2026-01-01T00:00:00+00:00",
            "finished": "2026-01-01T01:00:00+00:00",
            "seed": 3,
            "device": "cpu",
            "precision": "fp32",
            "versions": {"interpbench": "0.1.0"},
            "git": {"commit": "", "changed": False},
            "metrics": {
                name: {**about, "protocol": _digits(_text(name))[:12], "protocol_text": _text(name)}
                for name, about in METRICS.items()
            },
            "plugins": plugins,
            "identity": {
                "data": {"revision": "planted-1", "samples": ids},
                "weights": {model: _digits(model) for model in models},
                "plugins": {name: _digits(name) for name in [*models, *METRICS, "planted"]},
            },
            "cells": sorted(cell.folder for cell in cells),
            "models": {
                f"planted {model}": {"accuracy": 1.0, "accuracy_images": len(ids)}
                for model in models
            },
        }
    )


def _model(model: str, ids: tuple[str, ...]) -> ModelResult:
    rng = np.random.default_rng(1)
    shown = min(EXAMPLES, len(ids))
    names = tuple(f"class {i}" for i in range(shown))
    record = ModelRecord(
        dataset="planted", model=model, weights="shipped", accuracy=1.0, accuracy_images=len(ids), sample_ids=ids,
        pixels_sha256=_digits("pixels"), example_ids=ids[:shown], true_classes=names, predicted_classes=names,
    )  # fmt: skip
    return ModelResult(record, rng.integers(256, size=(shown, SIDE, SIDE, 3), dtype=np.uint8), None)


def _cell(cell: Cell, ids: tuple[str, ...], labels: np.ndarray, number: int) -> CellResult:
    rng = np.random.default_rng(number)
    searched = cell.ceiling_of
    scores, curves = [], []
    for metric, about in METRICS.items():
        if searched in (None, metric):
            values = _values(rng, about, number, len(ids), searched is not None)
            names = cell.as_dict() | {"metric": metric, "protocol": _digits(_text(metric))[:12]}
            per_image = (
                (values[:, 1:] + values[:, :-1]).mean(axis=1, dtype=float) / 2
                if about["curve"]
                else values
            )
            of_images = {
                "sample_id": ids,
                "label": labels,
                "target": labels,
                "tied": 0.25,
                "value": per_image,
            }
            scores.append(pd.DataFrame({**names, "parameters": "{}", **of_images})[SCORE_COLUMNS])
            if about["curve"]:
                fractions = [np.linspace(0, 1, STEPS + 1)] * len(ids)
                rows = {**names, "sample_id": ids, "fraction": fractions, "value": list(values)}
                curves.append(pd.DataFrame(rows)[CURVE_COLUMNS])
    record = CellRecord(
        dataset=cell.dataset, model=cell.model, method=cell.method, status="ok", images=len(ids), signed=0,
        role="ceiling" if searched else "control" if cell.method in CONTROLS else "method",
        attribution_seconds=1.0, scoring_seconds=1.0,
    )  # fmt: skip
    maps = (
        {}
        if searched
        else {name: rng.random((SIDE, SIDE), dtype=np.float32) for name in ids[:EXAMPLES]}
    )
    joined: Any = [
        pd.concat(frames, ignore_index=True) if frames else None for frames in (scores, curves)
    ]
    return CellResult(record, joined[0], *([] if joined[1] is None else [joined[1]]), maps=maps)


def _values(
    rng: np.random.Generator, about: dict[str, object], number: int, images: int, best: bool
) -> np.ndarray:
    """Curves float32 [images,STEPS+1] or scores float64 [images], a little better or worse by the cell's number."""
    quality = 1.0 if best else 0.1 * np.sin(number)
    if about["curve"]:
        middle = np.clip(0.5 - 0.3 * quality + rng.normal(0, 0.1, (images, 1)), 0.05, 0.95)
        rising = 1 / (1 + np.exp(-(np.linspace(0, 1, STEPS + 1) - middle) / 0.1))
        noisy = np.clip(rising + rng.normal(0, 0.02, rising.shape), 0, 1)
        return np.asarray(1 - noisy if about["better"] == "lower" else noisy, dtype=np.float32)
    chance = rng.random(images)
    return (
        (chance < 0.5 + 0.3 * quality).astype(float)
        if about["unit"] == "hit rate"
        else chance ** (1 - quality / 2)
    )


if __name__ == "__main__":
    folder, *sizes = sys.argv[1:]
    images, methods, models = map(int, sizes)
    write_run(Path(folder), images=images, methods=methods, models=models)
