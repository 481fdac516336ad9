"""Superpixels, beside scikit-image's own of the image as it was before normalisation."""

import numpy as np
import torch
from skimage.segmentation import slic

from interpbench import superpixels
from tests.tiny_models import card


def test_are_of_the_image_before_normalisation() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = (
        torch.rand(2, 3, 4, 4, generator=generator).repeat_interleave(6, 2).repeat_interleave(6, 3)
    )
    tiny = card(24, 2)
    mean, std = (torch.tensor(values)[:, None, None] for values in (tiny.mean, tiny.std))
    found = superpixels((pixels - mean) / std, tiny, 12)
    assert found.shape == (2, 24, 24)
    for image, labels in zip(pixels.permute(0, 2, 3, 1).double().numpy(), found, strict=True):
        expected = slic(image, n_segments=12, compactness=10, sigma=1, start_label=0)
        np.testing.assert_array_equal(labels.numpy(), expected)
        assert len(np.unique(expected)) > 4
