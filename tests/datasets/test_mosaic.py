"""Mosaics: what is in which cell, the score of the grid pointing game, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from interpbench.core.errors import InterpBenchError, UnreadableImageError
from interpbench.core.types import Dataset, DatasetCard, Sample
from interpbench.loading.dataset import open_dataset
from interpbench.registry.choosing import Sources, choose_dataset
from interpbench.registry.discovery import discover
from interpbench.registry.registry import dataset
from tests.command_line import call, refused
from tests.metrics.subjects import linear, score
from tests.training.data import photographs

REGISTRY = discover()


class Plain:
    """Images [8,12,3] of one value, their number; of five classes, and one without a label."""

    def __init__(self, unreadable: int = -1) -> None:
        classes = ("a", "b", "c", "d", "e")
        self.card = DatasetCard(
            "plain", classes, "7", size=8, mean=(0.5,) * 3, std=(0.2,) * 3, imagenet=(5, 6, 7, 8, 9)
        )
        self.ids = [f"plain-{i}" for i in range(31)]
        self.labels = [i % 5 for i in range(30)] + [-1]
        self.unreadable = unreadable

    def __getitem__(self, index: int) -> Sample:
        if index == self.unreadable:
            raise UnreadableImageError("it is broken")
        return Sample(self.ids[index], np.full((8, 12, 3), index, np.uint8), self.labels[index])


with REGISTRY.collecting():

    @dataset("plain")
    def plain(*, unreadable: int = -1):
        return Plain(unreadable)


def opened(text: str, sources: Sources = Sources()) -> Dataset:
    return open_dataset(choose_dataset(REGISTRY, text, sources))


@pytest.mark.parametrize("grid", [2, 3])
def test_a_mosaic_is_what_it_says(grid: int) -> None:
    data, of = opened(f"mosaic:of=planted,grid={grid}"), opened("planted")
    assert (len(data), data.labels, data.ids) == (2000, of.labels, of.ids)
    places = set()
    for index in (0, 7, 1999):
        sample = data[index]
        place, members = data.cells(index)
        places.add(place)
        assert sample.image.shape == (64 * grid, 64 * grid, 3)
        assert members[place] == index
        assert len({of.labels[member] for member in members}) == grid**2
        for cell, member in enumerate(members):
            row, column = divmod(cell, grid)
            where = (slice(64 * row, 64 * row + 64), slice(64 * column, 64 * column + 64))
            assert np.array_equal(sample.image[where], of[member].image)
            assert sample.mask[where].all() == (cell == place)
        assert sample.mask.sum() == 64**2
    assert len(places) > 1


def test_cells_and_neighbours_are_drawn_evenly() -> None:
    data = opened("mosaic:planted")
    drawn = [data.cells(index) for index in range(len(data))]
    places = np.bincount([place for place, _ in drawn])
    assert (abs(places - 500) < 4 * np.sqrt(2000 * 0.25 * 0.75)).all()
    others = np.bincount(
        [data.labels[m] for place, members in drawn for m in np.delete(members, place)]
    )
    assert (abs(others - 600) < 4 * np.sqrt(600)).all()


def test_a_mosaic_depends_on_the_seed_and_its_id_alone() -> None:
    one, two, other = (
        opened(text) for text in ("mosaic:plain", "mosaic:of=plain", "mosaic:of=plain,seed=1")
    )
    assert np.array_equal(one[3].image, two[3].image)
    assert [one.cells(i) for i in range(30)] == [two.cells(i) for i in range(30)]
    assert [one.cells(i) for i in range(30)] != [other.cells(i) for i in range(30)]


def test_its_card_follows_the_images_it_is_made_of() -> None:
    card, of = opened("mosaic:plain").card, Plain().card
    assert (card.classes, card.imagenet, card.mean) == (of.classes, of.imagenet, of.mean)
    assert (card.name, card.trained_on, card.size) == ("mosaic-plain", "plain", 16)
    assert (card.has_masks, card.label_alone) == (True, True)
    texts = [
        "mosaic:plain", "mosaic:of=plain,seed=1", "mosaic:of=plain,size=20", "mosaic:of=planted,size=16",
        'mosaic:of="planted:seed=1",size=16', "mosaic:of=planted,grid=3,size=16",
    ]  # fmt: skip
    assert len({opened(text).card.revision for text in texts}) == len(texts)


def test_images_are_made_to_fit_their_cells() -> None:
    sample = opened("mosaic:of=plain,grid=2,size=21")[4]
    _, members = opened("mosaic:plain").cells(4)
    assert sample.image.shape == (21, 21, 3)
    assert [set(sample.image[r, c].tolist()) for r in (0, 20) for c in (0, 20)] == [
        {member} for member in members
    ]
    assert sample.mask.sum() in (100, 110, 121)


def test_an_image_that_cannot_be_read_costs_the_mosaics_it_is_in() -> None:
    data = opened("mosaic:plain:unreadable=3")
    broken = 0
    for index in range(len(data)):
        if 3 in data.cells(index)[1]:
            broken += 1
            with pytest.raises(UnreadableImageError, match="it is broken"):
                data[index]
        else:
            assert data[index].image.shape == (16, 16, 3)
    assert 1 <= broken < 12


def test_energy_inside_is_the_score_of_the_grid_pointing_game() -> None:
    """Positive sum in the cell / positive sum: 1 for the cell, 1/n² for a flat map, 0 for its complement."""
    for grid in (2, 3):
        data = opened(f"mosaic:of=planted,grid={grid}")
        masks = torch.from_numpy(np.stack([data[i].mask for i in range(4)]))
        noise = torch.randn(masks.shape, generator=torch.Generator().manual_seed(0))
        by_hand = [
            sum(
                v
                for v, inside in zip(m.flatten().tolist(), k.flatten().tolist(), strict=True)
                if inside and v > 0
            )
            / sum(v for v in m.flatten().tolist() if v > 0)
            for m, k in zip(noise, masks, strict=True)
        ]
        for maps, expected in [
            (masks.float(), [1.0] * 4), (torch.ones(masks.shape), [1 / grid**2] * 4),
            ((~masks).float(), [0.0] * 4), (noise, by_hand),
        ]:  # fmt: skip
            explanation = replace(linear(maps, torch.zeros(4, 3, *masks.shape[1:])), mask=masks)
            assert score("energy-inside", explanation).tolist() == pytest.approx(expected, abs=1e-6)


def test_flags_reach_the_data_set_that_it_is_made_of(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos", ("a", "b", "c", "d"), each=2)
    data = opened("mosaic:of=imagefolder,size=32", Sources(root=root))
    assert data.card.classes == ("a", "b", "c", "d")
    assert data[0].image.shape == (32, 32, 3)
    Image.new("RGB", (16, 16)).save(root / "a" / "9.png")
    assert (
        opened("mosaic:of=imagefolder,size=32", Sources(root=root)).card.revision
        != data.card.revision
    )
    with pytest.raises(InterpBenchError, match="Data set 'planted' takes no --data-root"):
        opened("mosaic:planted", Sources(root=root))
    with pytest.raises(InterpBenchError, match="Data set 'planted' takes no --download"):
        opened("mosaic:planted", Sources(download=True))
    listed = tmp_path / "only.txt"
    listed.write_text("".join(f"{name}\n" for name in data.ids if not name.endswith("1.png")))
    part = opened(f"mosaic:of=imagefolder,size=32,only={listed}", Sources(root=root))
    assert part.ids == [f"{name}/0.png" for name in "abcd"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mosaic:of=plain,grid=1", r"grid='1' is not valid.*greater than or equal to 2"),
        ("mosaic", r"needs the parameter 'of'"),
        (
            "mosaic:of=plain,grid=3",
            "takes 9 classes, and 'plain' has images of 5. Give a smaller grid",
        ),
        ("mosaic:plane", "Unknown dataset 'plane'. Did you mean.* 'plain'"),
        ("mosaic:of=mosaic:plain", "would be one of mosaics"),
        ("mosaic:of=imagefolder:nowhere,size=64", "no image folder|is no folder|nowhere"),
        ('mosaic:of="plain,planted"', "one data set, not 2"),
    ],
)
def test_what_makes_no_mosaics_is_refused(text: str, message: str) -> None:
    with pytest.raises(InterpBenchError, match=message):
        opened(text)


def test_images_of_many_sizes_need_one(tmp_path: Path) -> None:
    root = photographs(tmp_path / "photos", ("a", "b", "c", "d"), each=1)
    with pytest.raises(
        InterpBenchError, match="of many sizes: say how large a mosaic is, 2 times the input"
    ):
        opened("mosaic:imagefolder", Sources(root=root))


def test_the_game_as_a_user_plays_it(tmp_path: Path) -> None:
    mosaics = [
        "--dataset",
        "mosaic:planted",
        "--model",
        "vgg11_bn",
        "--device",
        "cpu",
        "--images",
        "4",
    ]
    asked = [
        *mosaics,
        "--method",
        "gradcam,random",
        "--metric",
        "energy-inside",
        "--output",
        tmp_path / "run",
    ]
    assert "shows several classes" in (message := refused("run", *asked))
    assert "--target label" in message
    code, out, error = call("run", *asked, "--target", "label", "--compile", "never")
    assert code == 0, out + error
    assert "vgg11_bn on mosaic-planted, weights planted-vgg11_bn.safetensors" in out
    table = pd.read_csv(tmp_path / "run" / "leaderboard.csv").set_index("method")["mean"]
    # The model is run at the mosaic's size, where it knows the images.
    assert table["gradcam"] > 0.7
    assert table["random"] == pytest.approx(0.25, abs=0.01)
