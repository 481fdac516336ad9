"""Passes of a map: known by a method's definition, and the same whoever else is run, and where."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

import interpbench
from interpbench.core.errors import MethodError
from tests.metrics.subjects import COUNT, score, small

JOB = {
    "model": "resnet18", "dataset": "planted", "metric": ["forward-passes", "backward-passes"], "images": 5,
    "batch_size": 2, "device": "cpu", "plots": False,
}  # fmt: skip
PASSES = {  # forwards, backwards
    "gradcam": (1, 1),
    "layercam": (1, 1),  # though it finds what gradcam has computed
    "eigencam": (1, 0),  # likewise, of which it needs the forward pass alone
    "saliency": (1, 1),
    "integrated-gradients:steps=7": (7, 7),
    "rise:masks=9": (9, 0),
    "occlusion:stride=8,window=16": (7**2 + 1, 0),  # and the image itself
    "random": (0, 0),
}


def passes(run: interpbench.Run) -> pd.DataFrame:
    assert run.failed.empty, run.failed["reason"].tolist()
    return run.scores.pivot_table(index=["method", "sample_id"], columns="metric", values="value")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> interpbench.Run:
    folder = tmp_path_factory.mktemp("cost")
    return interpbench.run(**JOB, method=list(PASSES), output=folder / "run")


def test_passes_are_what_they_are_by_definition(whole: interpbench.Run) -> None:
    found = passes(whole)
    for method, (forwards, backwards) in PASSES.items():
        assert set(found.loc[method, "forward-passes"]) == {forwards}, method
        assert set(found.loc[method, "backward-passes"]) == {backwards}, method
    board = whole.leaderboard.set_index(["metric", "method"])
    assert set(board["better"]) == {"lower"}
    assert board.loc[("forward-passes", "random"), "mean"] == 0


def test_they_are_the_same_for_a_method_alone_and_another_batch(
    whole: interpbench.Run, tmp_path: Path
) -> None:
    methods = ["layercam", "integrated-gradients:steps=7"]
    settings = JOB | {"batch_size": 3, "images": 3}
    alone = passes(interpbench.run(**settings, method=methods, output=tmp_path / "run"))
    for method in methods:
        for metric in alone:
            assert set(alone.loc[method, metric]) == set(passes(whole).loc[method, metric])


def test_a_run_lists_what_methods_cost(whole: interpbench.Run) -> None:
    listed = pd.read_csv(whole.folder / "cost.csv")
    pd.testing.assert_frame_equal(
        listed, whole.cost.astype(listed.dtypes), check_exact=False, rtol=1e-6
    )
    assert set(listed["method"]) == set(PASSES)
    assert (listed["milliseconds"] > 0).all()
    assert sorted(listed["milliseconds_rank"]) == [*range(1, len(PASSES) + 1)]


def test_maps_without_a_method_have_no_passes() -> None:
    with pytest.raises(AssertionError, match=MethodError.__name__):
        score("forward-passes", small())


def test_an_image_is_counted_once_for_both_metrics() -> None:
    rows: list[int] = []
    plain = small()

    def alone(row: int) -> None:
        rows.append(row)
        for _ in range(row):
            leaf = plain.x[[row]].clone().requires_grad_()
            with torch.enable_grad():
                logits = plain.model(leaf)
            if row % 2:
                torch.autograd.grad(logits.sum(), leaf)

    asked = replace(plain, alone=alone)
    assert asked.passes[:, 0].tolist() == [*range(COUNT)]
    assert asked.passes[:, 1].tolist() == [row * (row % 2) for row in range(COUNT)]
    assert rows == [*range(COUNT)]
