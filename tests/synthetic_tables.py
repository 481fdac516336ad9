"""Tables of a run that never happened: smooth curves, maps of blobs, a few failures on request."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from interpbench.results.leaderboard import conclude
from interpbench.results.mean_curve import mean_curves
from interpbench.results.run_info import MetricInfo, ModelRecord
from interpbench.results.tables import Example, RunTables

METRICS: dict[str, dict[str, object]] = {
    "deletion": {"better": "lower", "range": [0.0, 1.0], "unit": "probability", "curve": True},
    "insertion": {"better": "higher", "range": [0.0, 1.0], "unit": "probability", "curve": True},
    "energy-inside": {"better": "higher", "range": [0.0, 1.0], "unit": "share", "curve": False},
    "pointing-game": {"better": "higher", "range": [0.0, 1.0], "unit": "hit rate", "curve": False},
}
METHODS = (
    "center",
    "gradcam",
    "guided-backprop",
    "integrated-gradients:steps=32",
    "occlusion:stride=8,window=16",
    "random",
    "rise:masks=500",
    "saliency",
    "sobel",
)
CONTROLS = ("center", "random", "sobel")
SIGNED = ("integrated-gradients:steps=32",)
SEED = 7
CLASSES = ("star", "ring", "cross", "spiral galaxy", "gear")


def synthetic_tables(
    *,
    dataset: str = "planted",
    models: Sequence[str] = ("resnet18",),
    methods: Sequence[str] = METHODS,
    metrics: Sequence[str] = tuple(METRICS),
    images: int = 24,
    steps: int = 16,
    failed: Collection[str] = (),
    constant: Mapping[str, int] | None = None,
    masks: bool = True,
    examples: int = 2,
    side: int = 32,
    weights: str = "shipped",
    ceiling: bool = True,
) -> RunTables:
    """A run of `images` images; `failed` methods raised, `constant` gives methods' numbers of constant maps."""
    rng = np.random.default_rng(5)
    constant = constant or {}
    cells, scores, curves, timings = [], [], [], []
    for model in sorted(models):
        for rank, method in enumerate(sorted(methods)):
            key = {"dataset": dataset, "model": model, "method": method}
            cells.append(
                {**key, **_cell(method, images, method in failed, constant.get(method, 0))}
            )
            if method in failed:
                continue
            seconds = images * 10 ** (-2.5 + 0.5 * rank + rng.normal(0, 0.05))
            timings.append(
                {**key, "attribution_seconds": seconds, "scoring_seconds": 1.5, "images": images}
                | {"peak_memory": None}
            )
            for metric in sorted(metrics):
                valid = images - constant.get(method, 0)
                some = _curves(
                    rng, METRICS[metric]["better"] == "lower", rank / len(methods), valid, steps
                )
                scores.append(_scores({**key, "metric": metric}, some))
                if METRICS[metric]["curve"]:
                    curves.append(_curve_rows({**key, "metric": metric}, some))
    shown = [
        _example(
            rng, dataset, model, index, [m for m in sorted(methods) if m not in failed], masks, side
        )
        for model in sorted(models)
        for index in range(examples)
    ]
    labels = [
        {"dataset": dataset, "model": model, "metric": m}
        for model in sorted(models)
        for m in sorted(metrics)
    ]
    ceilings = [
        _ceiling(rng, key, images, steps)
        for key in labels
        if ceiling and METRICS[key["metric"]]["curve"]
    ]
    return RunTables(
        scores=pd.concat(scores, ignore_index=True) if scores else EMPTY_SCORES,
        curves=mean_curves(pd.concat(curves, ignore_index=True), SEED) if curves else {},
        cells=pd.DataFrame(cells),
        timings=pd.DataFrame(timings, columns=TIMINGS),
        metrics={name: MetricInfo(**METRICS[name], **_protocol(name)) for name in metrics},
        models={(dataset, model): _measured(dataset, model, weights) for model in models},
        examples=shown,
        seed=SEED,
        ceilings=pd.concat(ceilings, ignore_index=True) if ceilings else EMPTY_SCORES,
    )


def _measured(dataset: str, model: str, weights: str) -> ModelRecord:
    return ModelRecord(
        dataset=dataset, model=model, accuracy=0.975, accuracy_images=2000, weights=weights
    )


_CONCLUDED: dict[str, tuple[RunTables, dict[str, pd.DataFrame]]] = {}


def concluded(**choices: Any) -> tuple[RunTables, dict[str, pd.DataFrame]]:
    """The tables of these choices and all that follows from them, which takes seconds and so is computed once.

    Several tests get the same objects: change copies.
    """
    key = repr(sorted(choices.items()))
    if key not in _CONCLUDED:
        tables = synthetic_tables(**choices)
        _CONCLUDED[key] = tables, conclude(tables)
    return _CONCLUDED[key]


def board_of(**choices: Any) -> pd.DataFrame:
    """The leaderboard of the tables of these choices."""
    return concluded(**choices)[1]["leaderboard"].copy()


TIMINGS = [
    "dataset",
    "model",
    "method",
    "attribution_seconds",
    "scoring_seconds",
    "images",
    "peak_memory",
]
_COMMON = ["dataset", "model", "method", "metric", "protocol", "sample_id"]
EMPTY_SCORES = pd.DataFrame(columns=[*_COMMON, "parameters", "label", "target", "tied", "value"])


def _protocol(metric: str) -> dict[str, str]:
    hashed = hashlib.sha256(metric.encode()).hexdigest()[:12]
    return {
        "protocol": hashed,
        "protocol_text": f"metric: {metric}\norder: most salient first\nparameter baseline: zero\n",
    }


def _cell(method: str, images: int, failed: bool, constant: int) -> dict[str, object]:
    return {
        "parameters": json.dumps({"name": method}),
        "role": "control" if method in CONTROLS else "method",
        "status": "failed" if failed else "ok",
        "reason": f"RuntimeError: {method} met a layer that it does not know" if failed else "",
        "images": images,
        "constant": 0 if failed else constant,
        "nonfinite": 0,
        "signed": images - constant if method in SIGNED and not failed else 0,
    }


def _ceiling(
    rng: np.random.Generator, key: dict[str, str], images: int, steps: int
) -> pd.DataFrame:
    """Scores of a map better than any method's."""
    curves = _curves(rng, METRICS[key["metric"]]["better"] == "lower", -0.15, images, steps)
    return _scores({**key, "method": f"(ceiling) {key['metric']}"}, curves)


def _curves(
    rng: np.random.Generator, falls: bool, quality: float, images: int, steps: int
) -> np.ndarray:
    """Probabilities [images, steps + 1] that fall or rise with the share of positions changed."""
    fraction = np.linspace(0, 1, steps + 1)
    middle = np.clip(0.15 + 0.5 * quality + rng.normal(0, 0.08, (images, 1)), 0.02, 0.95)
    rising = 1 / (1 + np.exp(-(fraction - middle) / 0.06))
    noise = rng.normal(0, 0.02, rising.shape)
    return np.clip((1 - rising if falls else rising) + noise, 0, 1)


def _scores(key: dict[str, str], curves: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            **key,
            "protocol": _protocol(key["metric"])["protocol"],
            "parameters": json.dumps({"name": key["method"]}),
            "sample_id": [f"image-{i:03d}" for i in range(len(curves))],
            "label": 1,
            "target": 1,
            "tied": 0.25,
            "value": (curves[:, 1:] + curves[:, :-1]).mean(axis=1) / 2,
        }
    )


def _curve_rows(key: dict[str, str], curves: np.ndarray) -> pd.DataFrame:
    count, points = curves.shape
    return pd.DataFrame(
        {
            **key,
            "protocol": _protocol(key["metric"])["protocol"],
            "sample_id": [f"image-{i:03d}" for i in range(count)],
            "fraction": [np.linspace(0, 1, points)] * count,
            "value": list(curves),
        }
    )


def _example(
    rng: np.random.Generator,
    dataset: str,
    model: str,
    index: int,
    methods: list[str],
    masks: bool,
    side: int,
) -> Example:
    """A disc over noise; maps are blobs near the disc, and every third map is signed."""
    row, column = np.mgrid[:side, :side] / side
    centre = rng.uniform(0.25, 0.75, 2)
    distance = np.hypot(row - centre[0], column - centre[1])
    disc = distance < 0.2
    texture = 0.5 + 0.25 * np.sin(20 * (row + index) * column) + rng.normal(0, 0.05, (side, side))
    image = np.stack([np.where(disc, shade, texture) for shade in (0.9, 0.7, 0.2)], axis=-1)
    blob = np.exp(-((distance / 0.25) ** 2))
    noise = rng.normal(0, 0.04, (len(methods), side, side))
    maps = {
        method: (blob - 0.2 + i * noise[i]).astype(np.float32) for i, method in enumerate(methods)
    }
    maps = {
        method: values if i % 3 == 2 else values.clip(0)
        for i, (method, values) in enumerate(maps.items())
    }
    true, predicted = CLASSES[index % 5], CLASSES[(index + (index % 3 == 1)) % 5]
    image8 = (255 * np.clip(image, 0, 1)).astype(np.uint8)
    return Example(
        dataset, model, f"image-{index:03d}", image8, true, predicted, disc if masks else None, maps
    )
