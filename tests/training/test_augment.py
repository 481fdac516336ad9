"""Augmentation: each setting does what it says and nothing else."""

import math
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from interpbench.core.types import DatasetCard
from interpbench.training.augment import Mixing, image_transform
from interpbench.training.recipe import Augmentation

CARD = DatasetCard("any", ("a", "b", "c"), "1", mean=(0.2, 0.4, 0.6))
NOTHING = {"flip": False, "crop": 0}
SIZE = 16
RAMP = torch.arange(SIZE, dtype=torch.uint8).repeat(3, SIZE, 1)
NOISE = torch.randint(
    0, 256, (3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def draws(image: torch.Tensor, count: int = 200, **settings: object) -> list[torch.Tensor]:
    transform = image_transform(Augmentation(**{**NOTHING, **settings}), CARD, SIZE)
    torch.manual_seed(0)
    return [transform(image) for _ in range(count)]


def test_without_settings_nothing_changes() -> None:
    assert torch.equal(draws(NOISE, 1)[0], NOISE)


def test_flips_and_shifts_mirror_the_edge() -> None:
    seen = {tuple(image[0, 0].tolist()) for image in draws(RAMP, flip=True, crop=2)}
    line = np.pad(np.arange(SIZE), 2, mode="reflect")
    shifted = [line[s : s + SIZE] for s in range(5)]
    assert seen == {tuple(map(int, s)) for row in shifted for s in (row, row[::-1])}


def test_resized_crops_are_rectangles_of_the_image_of_at_least_that_share() -> None:
    """Of an image whose channels say row and column, so that each crop says what it was cut from."""
    side, least = 40, 0.5
    place = torch.arange(side, dtype=torch.uint8) * 6
    image = torch.stack(
        [place[:, None].expand(side, side), place.expand(side, side), place.expand(side, side)]
    )
    shares = []
    for crop in draws(image, 200, resized_crop=least):
        assert (crop.shape, crop.dtype) == ((3, SIZE, SIZE), torch.uint8)
        rows, columns = (crop[i].float() / 6 for i in (0, 1))
        # From the first pixel's centre to the last one's there are SIZE - 1 of SIZE steps.
        height = (rows[-1, 0] - rows[0, 0]) * SIZE / (SIZE - 1)
        width = (columns[0, -1] - columns[0, 0]) * SIZE / (SIZE - 1)
        shares.append(float(height * width / side**2))
        assert 0.68 < float(width / height) < 1.47  # 3:4 to 4:3, of whole pixels
    assert least - 0.08 < min(shares) < 0.6
    assert 0.85 < max(shares) < 1.05


def test_erasing_paints_a_rectangle_in_the_mean_colour() -> None:
    erased = [image for image in draws(NOISE, 100, erasing=0.5) if not torch.equal(image, NOISE)]
    assert 30 < len(erased) < 70
    for image in erased:
        changed = (image != NOISE).any(0)
        rows, columns = changed.any(1).nonzero()[:, 0], changed.any(0).nonzero()[:, 0]
        box = image[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert torch.equal(
            box, torch.tensor([51, 102, 153], dtype=torch.uint8)[:, None, None].expand_as(box)
        )


@pytest.mark.parametrize("cells", [3, 4])
def test_one_cell_of_the_grid_is_removed_as_often_as_asked(cells: int) -> None:
    """The cells of metrics' grids: row r of H belongs to the r * cells // H th."""
    cell = torch.arange(SIZE) * cells // SIZE
    number = cell[:, None] * cells + cell
    mean = torch.tensor([51, 102, 153], dtype=torch.uint8)[:, None]
    images = draws(NOISE, 200, removed_cell=0.5, cells=cells)
    removed = set()
    changed = [image for image in images if not torch.equal(image, NOISE)]
    for image in changed:
        [which] = number[(image != NOISE).any(0)].unique().tolist()
        removed.add(which)
        assert (image[:, number == which] == mean).all()
        assert torch.equal(image[:, number != which], NOISE[:, number != which])
    assert 70 < len(changed) < 130
    assert removed == set(range(cells**2))


def test_rotation_stays_within_its_angle() -> None:
    dot = torch.zeros(3, 64, 64, dtype=torch.uint8)
    dot[:, 31:33, 60:63] = 255  # to the right of the centre
    transform = image_transform(Augmentation(**NOTHING, rotation=20), CARD, 64)
    torch.manual_seed(0)
    angles = []
    for _ in range(100):
        bright = (transform(dot)[0] > 128).nonzero().float().mean(0) - 31.5
        angles.append(math.degrees(math.atan2(-bright[0], bright[1])))
    assert max(map(abs, angles)) < 21
    assert max(angles) > 15
    assert min(angles) < -15


def test_jpeg_compresses_no_further_than_asked() -> None:
    def error(image: torch.Tensor) -> float:
        return (image.float() - NOISE.float()).abs().mean().item()

    errors = [error(image) for image in draws(NOISE, 60, jpeg=60)]
    worst = Image.fromarray(NOISE.permute(1, 2, 0).numpy())
    file = BytesIO()
    worst.save(file, "jpeg", quality=60)
    limit = error(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    assert 0 < min(errors) < max(errors) <= limit * 1.1


@pytest.mark.parametrize("setting", [{"randaugment": 2}, {"randaugment": 1, "magnitude": 20}])
def test_randaugment_keeps_shape_and_type_and_varies(setting: dict) -> None:
    seen = draws(NOISE, 30, **setting)
    assert {(image.shape, image.dtype) for image in seen} == {(NOISE.shape, torch.uint8)}
    assert len({image.numpy().tobytes() for image in seen}) > 10


def mixed(**settings: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images that say their label in every pixel; what they become, and their targets."""
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    x = (
        torch.nn.functional.one_hot(labels, 3)
        .float()[:, :, None, None]
        .expand(-1, -1, 8, 8)
        .clone()
    )
    torch.manual_seed(3)
    out, target = Mixing(Augmentation(**settings), 3)(x, labels)
    return x, out, target


@pytest.mark.parametrize(
    "settings", [{"mixup": 1.0}, {"cutmix": 1.0}, {"mixup": 1.0, "cutmix": 1.0}]
)
def test_labels_are_mixed_as_the_pixels_are(settings: dict) -> None:
    x, out, target = mixed(**settings)
    assert not torch.equal(x, out)
    torch.testing.assert_close(out.mean((2, 3)), target)
    torch.testing.assert_close(target.sum(1), torch.ones(6))


def test_pairing_averages_images_and_keeps_labels() -> None:
    x, out, target = mixed(pairing=1.0)
    assert torch.equal(target, x[:, :, 0, 0])
    pairs = {tuple(row.tolist()) for row in out[:, :, 0, 0]}
    means = {tuple(((a + b) / 2).tolist()) for a in torch.eye(3) for b in torch.eye(3)}
    assert pairs <= means
    assert len(pairs) > 1


def test_without_mixing_targets_are_the_labels() -> None:
    x, out, target = mixed()
    assert torch.equal(out, x)
    assert torch.equal(target, x[:, :, 0, 0])
