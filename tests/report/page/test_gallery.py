"""The pictures in the page, decoded again."""

import io
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from interpbench.report.page.example_pictures import ExamplePictures, gallery, outline_path
from tests.report.page.pages import run_evidence
from tests.synthetic_tables import synthetic_tables


def decoded(uri: str) -> Image.Image:
    head, _, content = uri.partition(",")
    assert head in ("data:image/png;base64", "data:image/webp;base64")
    image = Image.open(io.BytesIO(b64decode(content)))
    assert image.format is not None
    assert image.format.lower() in head
    return image


@pytest.fixture(scope="module")
def shown() -> ExamplePictures:
    return gallery(run_evidence(models=("a", "b"), examples=3, images=12))


def test_each_image_is_there_once_pixel_by_pixel(shown: ExamplePictures) -> None:
    tables = synthetic_tables(models=("a", "b"), examples=3, images=12)
    assert len(shown.shown) == len(tables.examples)
    for found, example in zip(shown.shown, tables.examples, strict=True):
        assert (found.model, found.sample_id) == (example.model, example.sample_id)
        picture = shown.pictures[found.picture]
        np.testing.assert_array_equal(
            np.asarray(decoded(picture.uri).convert("RGB")), example.image
        )
    twice = replace(
        tables,
        examples=[*tables.examples[:3], *(replace(e, model="b") for e in tables.examples[:3])],
    )
    assert (
        len(
            gallery(
                replace(run_evidence(models=("a", "b"), examples=3, images=12), tables=twice)
            ).pictures
        )
        == 3
    )


def test_a_map_is_most_opaque_where_it_is_strongest(shown: ExamplePictures) -> None:
    example = synthetic_tables(models=("a", "b"), examples=3, images=12).examples[0]
    for tile in shown.shown[0].tiles:
        values = example.maps[tile.method]
        opacity = np.asarray(decoded(tile.uri).convert("RGBA"))[..., 3].astype(float)
        assert opacity.shape == values.shape
        assert tile.signed == bool(values.min() < 0 < values.max())
        strength = np.abs(values) if tile.signed else values
        assert np.corrcoef(strength.ravel(), opacity.ravel())[0, 1] > 0.95
        assert opacity[np.unravel_index(strength.argmax(), strength.shape)] == 255


def test_scores_of_a_tile_are_those_of_its_image(shown: ExamplePictures) -> None:
    scores = synthetic_tables(models=("a", "b"), examples=3, images=12).scores
    found = shown.shown[4]
    for tile in found.tiles:
        mine = scores[(scores["model"] == found.model) & (scores["sample_id"] == found.sample_id)]
        mine = mine[mine["method"] == tile.method]
        assert tile.scores == pytest.approx(
            dict(zip(mine["metric"], mine["value"], strict=True)), abs=1e-6
        )


def test_large_images_become_small() -> None:
    found = gallery(run_evidence(examples=1, side=500, images=12, metrics=("deletion",)))
    [picture] = found.pictures
    assert (picture.width, picture.height) == (500, 500)
    assert decoded(picture.uri).size == (224, 224)
    assert decoded(found.shown[0].tiles[0].uri).size == (112, 112)


def test_a_map_that_is_missing_constant_or_not_finite_has_no_picture() -> None:
    evidence = run_evidence(examples=1, images=12, failed=("sobel",), metrics=("deletion",))
    tables = evidence.tables
    assert tables is not None
    [example] = tables.examples
    maps = {
        **example.maps,
        "gradcam": np.zeros((32, 32), np.float32),
        "random": np.full((32, 32), np.nan, np.float32),
    }
    found = gallery(
        replace(evidence, tables=replace(tables, examples=[replace(example, maps=maps)]))
    )
    assert {tile.method for tile in found.shown[0].tiles if not tile.uri} == {
        "sobel",
        "gradcam",
        "random",
    }


def test_an_outline_has_each_edge_between_inside_and_outside_once() -> None:
    mask = np.random.default_rng(0).random((9, 7)) < 0.4
    expected = set()
    for row in range(9):
        for column in range(7):
            for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                near = (row + down, column + right)
                inside = 0 <= near[0] < 9 and 0 <= near[1] < 7 and mask[near]
                if mask[row, column] and not inside:
                    x, y = column + (right == 1), row + (down == 1)
                    expected.add(f"{x} {y}{'h' if down else 'v'}1")
    assert sorted(outline_path(mask).split("M")[1:]) == sorted(expected)
    assert outline_path(np.zeros((3, 3), bool)) == ""
