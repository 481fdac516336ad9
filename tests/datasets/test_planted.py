"""The planted data: every sample from its own seed, exact masks, and no way to the class but shape and texture."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import f_oneway

from interpbench.core.errors import ParameterError
from interpbench.registry.discovery import discover

PLUGIN = discover().get("dataset", "planted")
LAYERS = PLUGIN.call.__globals__["layers"]


def planted(**values):
    return PLUGIN.configure(values)()


@pytest.fixture(scope="module")
def samples():
    data = planted(count=400)
    return [data[i] for i in range(400)]


def test_two_instances_agree_bit_for_bit():
    one, two = planted(), planted()
    for i in (0, 7, 1999):
        assert one[i].id == two[i].id
        assert np.array_equal(one[i].image, two[i].image)
        assert np.array_equal(one[i].mask, two[i].mask)


def test_a_sample_depends_on_no_other_and_not_on_count():
    few, many = planted(count=6), planted(count=1000)
    alone = few[5].image
    for i in range(5):
        many[i]
    assert np.array_equal(alone, many[5].image)


@pytest.mark.parametrize("other", [{"split": "train"}, {"seed": 1}])
def test_splits_and_seeds_share_nothing(other):
    one, two = planted(), planted(**other)
    for i in range(20):
        assert not np.array_equal(one[i].mask, two[i].mask)
        assert not np.array_equal(one[i].image, two[i].image)


def test_another_seed_has_ids_and_a_revision_of_its_own():
    default, one, two = planted(count=9), planted(count=9, seed=1), planted(count=9, seed=2)
    assert default.card.revision == "planted-1"  # what is published says so
    assert len({data.card.revision for data in (default, one, two)}) == 3
    assert len({*default.ids, *one.ids, *two.ids}) == 27
    assert one[3].id == one.ids[3] == "planted-test-seed-1-000003"
    assert planted(count=2, seed=1).card.revision == one.card.revision  # a part is of the same data


def test_ids_and_labels_are_known_and_balanced():
    data = planted(count=50)
    assert data.ids[12] == "planted-test-000012"
    assert len(set(data.ids)) == 50
    assert np.bincount(data.labels).tolist() == [5] * 10
    assert [data[i].label for i in range(50)] == data.labels
    assert len(planted()) == 2000
    assert len(planted(split="train")) == 20_000


def test_the_card_describes_the_samples(samples):
    card = planted().card
    assert len(card.classes) == len(set(card.classes)) == 10
    pixels = np.stack([s.image for s in samples]).reshape(-1, 3) / 255
    np.testing.assert_allclose(pixels.mean(0), card.mean, atol=0.03)
    np.testing.assert_allclose(pixels.std(0), card.std, atol=0.03)
    for sample in samples:
        assert sample.image.shape == (64, 64, 3)
        assert sample.image.dtype == np.uint8
        assert sample.mask.shape == (64, 64)
        assert sample.mask.dtype == bool


def test_objects_are_whole_and_inside(samples):
    for sample in samples:
        edge = np.concatenate([sample.mask[[0, -1]].ravel(), sample.mask[:, [0, -1]].ravel()])
        assert not edge.any()
        assert 0.02 < sample.mask.mean() < 0.25
        assert ndimage.label(sample.mask, np.ones((3, 3)))[1] == 1


def test_the_mask_is_exactly_where_the_object_is():
    """Outside it a sample is the scene alone; inside it nothing of the scene is left."""
    data = planted()
    for i in range(20):
        scene, thing, mask = LAYERS(np.random.default_rng((0, 1, i)), i % 10)
        image = data[i].image
        assert np.array_equal(mask, data[i].mask)
        assert np.array_equal(image[~mask], scene[~mask])
        assert np.array_equal(image[mask], thing[mask])


def test_discs_are_round(samples):
    """A mask is what the shape is: discs fill pi / 4 of their bounding boxes, up to the raster."""
    for mask in (s.mask for s in samples if s.label < 2):
        height, width = (np.ptp(np.flatnonzero(mask.any(axis))) + 1 for axis in (1, 0))
        assert mask.sum() / (height * width) == pytest.approx(np.pi / 4, abs=0.07)


def test_colour_and_place_say_nothing_of_the_class(samples):
    """Between classes the means differ no more than chance allows (one-way F test, one in ten thousand)."""
    colours = np.array([s.image[s.mask].mean(0) for s in samples])
    places = np.array([ndimage.center_of_mass(s.mask) for s in samples])
    labels = np.array([s.label for s in samples])
    for column in (*colours.T, *places.T):
        assert f_oneway(*(column[labels == k] for k in range(10))).pvalue > 1e-4


@pytest.mark.parametrize("values", [{"count": 0}, {"split": "validation"}, {"seed": -1}])
def test_bad_parameters_are_refused(values):
    with pytest.raises(ParameterError):
        planted(**values)


def test_out_of_range():
    with pytest.raises(IndexError):
        planted(count=3)[3]
