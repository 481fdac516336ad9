"""The search for the ceiling: against the exactly best order, its cost, and how a run takes part in it."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import interpbench
from interpbench.core.batch_size import BatchSize
from interpbench.fast.occlusion.occluded_outputs import listening
from interpbench.fast.scoring_copy import prepare
from interpbench.registry.discovery import discover
from interpbench.registry.plugin import Configured
from interpbench.results.run_folder import RunFolder
from interpbench.scoring import ceiling
from interpbench.scoring.ceiling import best_map, best_order, patch_map, rectangles, sizes
from interpbench.scoring.explanation import Explanation
from interpbench.scoring.ranking import rank, tie_breakers
from tests.paths import TINY
from tests.reference import removal
from tests.scores import scored
from tests.tiny_models import Linear, convolutional, wrap

REGISTRY = discover()
BETTER: dict[str, Callable[..., float]] = {"deletion": min, "insertion": max}
CURVES = sorted(BETTER)


def metric(name: str, **values: Any) -> Configured:
    """With zero as the baseline of both, so that one is the other backwards."""
    return REGISTRY.configure("metric", name, {"baseline": "zero", **values})


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def explanation(network: nn.Module, x: Tensor, saliency: Tensor | None = None) -> Explanation:
    """Images, of which the i-th explains class i modulo 3, with a map; a constant one where none is given."""
    count, side = len(x), x.shape[2]
    saliency = torch.zeros(count, side, side) if saliency is None else saliency
    ids = tuple(f"image-{i}" for i in range(count))
    target = torch.arange(count) % 3
    ranks, _ = rank(saliency, tie_breakers(ids, side * side, 0))
    return Explanation(
        model=wrap(network, side, 3),
        x=x,
        target=target,
        label=target,
        mask=None,
        ids=ids,
        saliency=saliency,
        rank=ranks,
    )


def reached(
    network: nn.Module, x: Tensor, chosen: Configured, grid: int, batch: int = 64
) -> list[float]:
    """The areas that the search reaches: its maps scored as those of a method are."""
    found, _ = best_map(chosen, explanation(network, x), BatchSize(batch), grid=grid)
    return scored(chosen, explanation(network, x, found), batch).per_image.tolist()


def removed_values(
    network: nn.Module, x: Tensor, chosen: Configured, grid: int
) -> list[dict[removal.Subset, float]]:
    """For each image the output for every set of patches that has changed on the way, one after the other."""
    subject = explanation(network, x)
    path = chosen(subject)
    patch_of = patch_map(x.shape[2], x.shape[3], grid)
    tables: list[dict[removal.Subset, float]] = [{} for _ in x]
    for subset in removal.subsets(grid * grid):
        changed = torch.isin(patch_of, torch.tensor(sorted(subset), dtype=torch.int64))
        logits = network(torch.where(changed, path.end, path.start))
        values = logits.softmax(1) if path.output == "probability" else logits
        for table, row, target in zip(tables, values, subject.target.tolist(), strict=True):
            table[subset] = float(row[target])
    return tables


@torch.no_grad()
def losses(
    network: nn.Module, x: Tensor, found: list[float], chosen: Configured, grid: int
) -> Tensor:
    """How much worse than the best order's area each of these is. The metric's steps must be of a patch each."""
    better = BETTER[chosen.name]
    exact = [removal.best_area(table, better) for table in removed_values(network, x, chosen, grid)]
    difference = torch.tensor(found) - torch.tensor(exact)
    return difference if better is min else -difference


def sharp(side: int, seed: int = 0) -> nn.Module:
    """A random network whose probabilities move, as those of a trained one do."""
    network = convolutional(side, 3, seed)
    assert isinstance(network, nn.Sequential)
    last = network[-1]
    assert isinstance(last, nn.Linear)
    last.weight.data *= 20
    return network.eval()


@pytest.mark.parametrize("name", CURVES)
@torch.no_grad()
def test_the_exact_search_over_subsets_finds_what_all_orders_hold(name: str) -> None:
    for table in removed_values(sharp(4), noise(4, 3, 4, 4), metric(name), 2):
        brute = removal.best_area_of_all_orders(table, BETTER[name])
        assert removal.best_area(table, BETTER[name]) == pytest.approx(brute, abs=1e-9)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("grid", [2, 3])
def test_the_search_is_never_better_than_the_best_order_and_little_worse(
    name: str, grid: int
) -> None:
    """Measured over eight networks: it loses at most 0.07 of what a random order does, 0.02 on average."""
    side = grid * grid
    network, x, chosen = sharp(side), noise(12, 3, side, side), metric(name)
    lost = losses(network, x, reached(network, x, chosen, grid), chosen, grid)
    assert lost.min() > -1e-6
    by_chance = scored(chosen, explanation(network, x, noise(12, side, side, seed=1)), 64)
    assert (
        lost.mean() < 0.15 * losses(network, x, by_chance.per_image.tolist(), chosen, grid).mean()
    )


@pytest.mark.parametrize("name", CURVES)
def test_for_an_additive_model_the_search_finds_the_best_order(name: str) -> None:
    network, x, chosen = (
        Linear(noise(3, 3, 9, 9, seed=2)),
        noise(9, 3, 9, 9),
        metric(name, output="logit"),
    )
    lost = losses(network, x, reached(network, x, chosen, 3), chosen, 3)
    torch.testing.assert_close(lost, torch.zeros(9), rtol=0, atol=1e-4)


def test_a_patch_that_decides_comes_first_and_is_all_that_the_map_puts_there() -> None:
    weight = torch.zeros(3, 3, 8, 8)
    weight[:, :, 2:4, 6:8] = torch.tensor([1.0, 2.0, 3.0])[:, None, None, None]
    x = torch.ones(3, 3, 8, 8)
    for name in CURVES:
        found, _ = best_map(
            metric(name, output="logit"), explanation(Linear(weight), x), BatchSize(8), grid=4
        )
        assert found.dtype == torch.float32
        greatest = found == found.amax((1, 2), keepdim=True)
        assert torch.equal(greatest, (weight[0, 0] > 0).expand_as(greatest))


def test_insertion_is_the_search_from_the_image_read_backwards() -> None:
    """With one baseline, what keeps the output high when it is left to the end is what is inserted first."""
    network, x = sharp(9), noise(6, 3, 9, 9)
    subject = explanation(network, x)
    order, _ = best_order(subject, metric("insertion")(subject), False, 3, BatchSize(64))
    values = removed_values(network, x, metric("deletion"), 3)
    for row, table in zip(order.tolist(), values, strict=True):
        removed: frozenset[int] = frozenset()
        for taken in sizes(9, grow=False):
            left = sorted(set(range(9)) - removed)
            best = sorted(left, key=lambda patch: -table[removed | {patch}])[:taken]
            removed |= set(best)
            assert set(row[9 - len(removed) :]) == removed


@pytest.mark.parametrize("name", CURVES)
def test_forward_passes_are_as_many_as_are_told_and_as_the_documentation_says(name: str) -> None:
    grids = [2, 4, 6, 8, 12, 16]
    told = []
    for grid in grids:
        seen: list[int] = []
        network = Linear(noise(3, 3, 16, 16))
        network.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))  # noqa: B023
        _, passes = best_map(
            metric(name), explanation(network, noise(2, 3, 16, 16)), BatchSize(64), grid=grid
        )
        assert sum(seen) == 2 * passes
        assert max(seen) <= 64
        told.append(passes)
    assert f"{name:10}" + "".join(f"{passes:6}" for passes in told) in str(ceiling.__doc__)


@given(patches=st.integers(1, 256), grow=st.booleans())
def test_rounds_take_every_patch_and_those_that_matter_one_by_one(patches: int, grow: bool) -> None:
    taken = sizes(patches, grow)
    assert sum(taken) == patches
    assert taken == sorted(taken, reverse=not grow)
    assert all(0 < size <= max(1, patches // 3) for size in taken)
    left = [patches - sum(taken[:i]) for i in range(len(taken))]
    passes = sum(left) - left.count(1)
    assert passes <= (patches * math.log(patches, 1.5) if grow else 3.25 * patches)


@given(height=st.integers(2, 40), width=st.integers(2, 40), data=st.data())
def test_patches_are_rectangles_in_reading_order_that_differ_by_a_row_or_column(
    height: int, width: int, data: st.DataObject
) -> None:
    grid = data.draw(st.integers(1, min(height, width)))
    patches = patch_map(height, width, grid)
    assert patches.shape == (height, width)
    for sides, extent in ((patches[:, 0] // grid, height), (patches[0] % grid, width)):
        assert sides.diff().min() >= 0
        assert {int(n) for n in sides.bincount()} <= {extent // grid, -(-extent // grid)}
        assert len(sides.unique()) == grid
    assert torch.equal(patches, patches[:, :1] + patches[:1])
    for number, (top, left, bottom, right) in enumerate(rectangles(height, width, grid).tolist()):
        assert (patches[top:bottom, left:right] == number).all()
        assert (bottom - top) * (right - left) == (patches == number).sum()


def deep(side: int) -> nn.Module:
    """A network of which a patch changes a small part."""
    torch.manual_seed(1)
    body = [
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(4),
    ]
    head = [
        nn.Conv2d(32, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * (side // 4) ** 2, 3),
    ]
    network = nn.Sequential(*body, *head)
    network[-1].weight.data *= 30
    return network.eval()


@pytest.mark.parametrize("output", ["probability", "logit"])
@pytest.mark.parametrize("name", CURVES)
def test_on_large_images_the_same_order_is_found_by_boxes(
    name: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, x, chosen = deep(96), noise(2, 3, 96, 96), metric(name, output=output)
    with listening() as choices:
        found, passes = best_map(chosen, explanation(network, x), BatchSize(4), grid=4)
    assert [choice.plain for choice in choices] == [""]
    monkeypatch.setattr(ceiling, "occluder", lambda *arguments: None)
    expected, counted = best_map(chosen, explanation(network, x), BatchSize(4), grid=4)
    assert counted == passes
    assert torch.equal(found, expected)


def test_where_boxes_do_not_pay_or_precision_is_low_whole_images_are_passed() -> None:
    subject = explanation(deep(96), noise(1, 3, 96, 96))
    with listening() as choices:
        best_map(metric("deletion"), explanation(sharp(9), noise(2, 3, 9, 9)), BatchSize(8), grid=3)
        best_map(
            metric("deletion"),
            replace(subject, model=prepare(subject.model, subject.x, "bf16")),
            BatchSize(4),
            grid=2,
        )
    assert [choice.plain for choice in choices] == [
        "boxes cost no less than whole images, or little less"
    ]


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("batch", [1, 3, 10, 1000])
def test_images_do_not_influence_one_another_and_batches_change_no_order(
    name: str, batch: int
) -> None:
    network, x, chosen = sharp(9), noise(6, 3, 9, 9), metric(name)
    together, _ = best_map(chosen, explanation(network, x), BatchSize(64), grid=3)
    again, _ = best_map(chosen, explanation(network, x), BatchSize(batch), grid=3)
    assert torch.equal(again, together)
    first, _ = best_map(chosen, explanation(network, x[:3]), BatchSize(batch), grid=3)
    assert torch.equal(first, together[:3])


def test_running_out_of_memory_halves_the_batch_and_changes_no_order() -> None:
    network, x, chosen, batch = sharp(9), noise(6, 3, 9, 9), metric("deletion"), BatchSize(64)
    expected, _ = best_map(chosen, explanation(network, x), BatchSize(64), grid=3)

    def small_memory(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")

    network.register_forward_pre_hook(small_memory)
    found, _ = best_map(chosen, explanation(network, x), batch, grid=3)
    assert batch.images == 4
    assert torch.equal(found, expected)


def run(output: Path, **changes: Any) -> interpbench.Run:
    settings: dict[str, Any] = {
        "dataset": "tiny", "model": "quadrants", "method": ["gradient", "random"], "metric": ["deletion", "insertion"],
        "images": 8, "ceiling": 6, "weights": "random", "plugin": TINY, "device": "cpu", "output": output,
        "plots": False,
    }  # fmt: skip
    return interpbench.run(**settings | changes)


def test_a_run_has_a_ceiling_for_each_curve_metric_that_is_no_method(tmp_path: Path) -> None:
    finished = run(tmp_path / "run", metric=["deletion", "insertion", "pointing-game"])
    assert set(finished.scores["method"]) == {"gradient", "random"}
    assert set(finished.tables.ceilings["metric"]) == {"deletion", "insertion"}
    board = finished.leaderboard.set_index(["metric", "method"])
    for name in CURVES:
        searched = finished.tables.ceilings.query("metric == @name")["value"].mean()
        assert board.loc[(name, "gradient"), "ceiling"] == pytest.approx(searched)
        assert BETTER[name](searched, board.loc[(name, "random"), "mean"]) == searched
    assert finished.info["forward_passes_of_ceilings"] == 8 * (285 + 110)


@pytest.mark.parametrize("changes", [{"ceiling": "none"}, {"method": "gradient"}])
def test_without_a_ceiling_or_a_control_there_is_no_share(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    finished = run(tmp_path / "run", **changes)
    assert not any(
        "ceiling" in record["method"] for record in RunFolder(finished.folder).cell_records()
    )
    assert finished.tables.ceilings.empty
    assert finished.leaderboard["share"].isna().all()


def test_a_run_with_ceilings_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    [victim] = (tmp_path / "part" / "cells").glob("*ceiling*insertion*")
    shutil.rmtree(victim)
    tables = [
        path.name
        for path in (tmp_path / "whole").iterdir()
        if path.suffix in {".csv", ".parquet"} and path.name not in {"timings.csv", "cost.csv"}
    ]
    assert {"scores.csv", "leaderboard.csv"} <= set(tables)
    for table in tables:
        (tmp_path / "part" / table).unlink()
    run(tmp_path / "part", resume=True)
    for table in tables:
        assert (tmp_path / "whole" / table).read_bytes() == (
            tmp_path / "part" / table
        ).read_bytes(), table


def test_a_model_that_fails_fails_its_ceilings_too(tmp_path: Path) -> None:
    finished = run(tmp_path / "run", model=["unsound", "quadrants"])
    records = {(r["model"], r["method"]): r for r in RunFolder(finished.folder).cell_records()}
    for name in CURVES:
        failed = records["unsound", f"(ceiling) {name}"]
        assert failed["status"] == "failed"
        assert failed["role"] == "ceiling"
        assert "the model itself fails: RuntimeError" in failed["reason"]
        assert records["quadrants", f"(ceiling) {name}"]["status"] == "ok"


@pytest.mark.parametrize("name", CURVES)
def test_a_search_for_the_least_salient_first_beats_random_maps_as_well(name: str) -> None:
    """In the mean, since it is no bound; its maps are ordered the other way round, and so is what is better."""
    network, x = sharp(8), noise(3, 3, 8, 8)
    chosen = metric(name, steps=4, output="logit", first="least")
    found = reached(network, x, chosen, grid=2)
    patches = patch_map(8, 8, 2)
    higher = chosen.plugin.direction(chosen.values) == "higher"
    random = np.mean(
        [
            scored(chosen, explanation(network, x, noise(3, 4, seed=seed)[:, patches])).per_image
            for seed in range(12)
        ],
        axis=0,
    )
    for ours, theirs in zip(found, random, strict=True):
        assert ours > theirs if higher else ours < theirs
