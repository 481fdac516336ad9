"""Five methods, deletion and insertion on 100 images: one call of ours, or a user's own script of captum and RISE.

Both in processes of their own, imports and writing included. Ours also finds out whether the model can be trusted with
the methods, concludes, and writes tables; pictures and page are left out, which nobody draws by hand.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.bench import by_hand
from tests.bench.conftest import Report
from tests.bench.timing import Contender
from tests.bench.workloads import CIFAR10, eager
from tests.paths import ROOT

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
HALF = {"precision": "bf16", "map_precision": "bf16"}


def painted(folder: Path, each: int) -> Path:
    """Images of spots in several sizes: so many a class, which is nobody's business here."""
    chance = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            coarse = chance.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            spots = np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC))
            noise = chance.integers(-20, 20, spots.shape)
            pixels = (spots + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def means(file: Path) -> pd.Series:
    return pd.read_csv(file).set_index(["method", "metric"]).iloc[:, -1].sort_index()


def apart(ours: pd.Series, others: pd.Series) -> float:
    """The greatest difference of a method's mean score."""
    return float((ours - others).abs().max())


@pytest.mark.bench
def test_by_hand(report: Report, quick: bool, tmp_path: Path) -> None:
    folder = painted(tmp_path / "images", 1 if quick else 10)
    count = len(CLASSES) * (1 if quick else 10)

    def called(*words: str) -> None:
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def ours(**extra: str) -> pd.Series:
        run = tmp_path / "run"
        asked = {
            "dataset": by_hand.dataset(folder), "model": "resnet18", "method": by_hand.METHODS,
            "metric": ("deletion", "insertion"), "steps": by_hand.STEPS, "images": count,
            "ceiling": "none", "plots": False, "output": str(run), "overwrite": True, **extra,
        }  # fmt: skip
        called("-c", f"import interpbench; interpbench.run(**{asked!r})")
        scores = pd.read_csv(run / "scores.csv", usecols=["method", "metric", "value"])
        scores["metric"] = scores["metric"].str.partition(":")[0]
        return scores.groupby(["method", "metric"])["value"].mean().sort_index()

    def theirs() -> pd.Series:
        called("-m", by_hand.__name__, str(folder), str(tmp_path / "by_hand.csv"))
        return means(tmp_path / "by_hand.csv")

    passes = len(by_hand.METHODS) * 2 * (by_hand.STEPS + 1)
    note = f"{count} images, {passes} scored points each"
    report(
        f"Five methods by hand, {CIFAR10.title}",
        "per image",
        [
            Contender("interpbench run", "ours", ours, count, note=note),
            Contender("interpbench run, all in bf16", "ours", lambda: ours(**HALF), count, apart),
            Contender("captum and RISE, by hand", "peer", theirs, count, apart),
            eager(CIFAR10).turn(1),
        ],
        warm_up=0,
    )
