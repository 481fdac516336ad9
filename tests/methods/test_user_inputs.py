"""Every method on images of one or five channels, and on such as are not square: the map is where it should be."""

import pytest
import torch
import torch.nn.functional as F

from interpbench.core.errors import MethodError
from interpbench.testing import maps_of
from tests.methods.common import METHODS, QUICK, REGISTRY
from tests.user_inputs import KINDS, Kind, Tokens, corner, wrapped

OF_TRANSFORMERS = {"attention-rollout", "attention-gradient"}
# Score-CAM masks the image with enlarged maps, which cross from patch to patch.
OF_GRIDS = [name for name in METHODS if REGISTRY.get("method", name).coarse and name != "scorecam"]
# What a method's defaults do not fit here, or what makes it see enough.
VALUES = QUICK | {
    "occlusion": {},
    "rise": {"masks": 2000, "cells": 3},
    "sobol-attribution": {"cells": 4, "designs": 4},
    "extremal-perturbation": {"steps": 20, "cells": 4},
    "lime": {"samples": 100, "segments": 24},
    "kernel-shap": {"samples": 100, "segments": 24},
}


@pytest.mark.parametrize("name", [name for name in METHODS if name not in OF_TRANSFORMERS])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_its_map_shows_the_corner_that_the_model_looks_at(name: str, kind: Kind) -> None:
    method = REGISTRY.configure("method", name, VALUES.get(name, {}))
    x, target = kind.with_corner(), torch.tensor([0, 0])
    maps = maps_of(method, wrapped(corner(kind), kind), x, target)
    assert maps.saliency.shape == (2, kind.height, kind.width)
    assert bool(maps.valid.all())
    if method.plugin.control:
        return
    apart = (maps.saliency - maps.saliency.flatten(1).median(1).values[:, None, None]).abs()
    in_corner, all_together = apart[:, :8, -8:].sum((1, 2)), apart.sum((1, 2))
    elsewhere = (all_together - in_corner) / (kind.height * kind.width - 64)
    assert bool((in_corner / 64 > 1.5 * elsewhere).all()), (in_corner / 64, elsewhere)


@pytest.mark.parametrize("name", OF_GRIDS)
@pytest.mark.parametrize("class_token", [True, False])
def test_patches_have_the_same_values_in_whatever_rectangle_they_lie(
    name: str, class_token: bool
) -> None:
    """Without positions a transformer sees a bag of patches; those of a wide image make a tall one as well."""
    wide, tall = KINDS["wide"], KINDS["tall"]
    method = REGISTRY.configure("method", name, VALUES.get(name, {}))
    x, found = wide.images(), []
    patches = F.unfold(x, 4, stride=4)
    for kind, images in (
        (wide, x),
        (tall, F.fold(patches, (tall.height, tall.width), 4, stride=4)),
    ):
        model = wrapped(Tokens(kind, class_token=class_token), kind)
        model.network.position.zero_()
        assert model.card.target_layer == "norm"
        found.append(method(model, images, torch.tensor([1, 2])))
    assert [tuple(maps.shape) for maps in found] == [(2, 4, 6), (2, 6, 4)]
    torch.testing.assert_close(found[0].flatten(1), found[1].flatten(1), atol=1e-5, rtol=1e-4)
    assert bool((found[0].std((1, 2)) > 0).all())


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_superpixels_follow_the_edges_in_whatever_channels_there_are(channels: int) -> None:
    """Of position alone they would be a grid, which crosses the disc's edge everywhere."""
    kind = Kind(channels, 32, 48)
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(48), indexing="ij")
    inside = ((rows - 15) ** 2 + (columns - 20) ** 2) < 100
    x = (2.0 * inside - 1).expand(2, channels, 32, 48) + 0
    method = REGISTRY.configure("method", "random-segments", {"segments": 24})
    for saliency in maps_of(method, wrapped(corner(kind), kind), x, torch.tensor([0, 1])).saliency:
        parts = [inside[saliency == value] for value in saliency.unique()]
        assert len(parts) > 4
        astray = sum(min(int(part.sum()), int((~part).sum())) for part in parts)
        assert astray < 0.3 * inside.sum()  # 0.45 of a grid's


def test_attention_of_a_network_without_any_is_refused() -> None:
    kind = KINDS["wide"]
    for name in OF_TRANSFORMERS:
        with pytest.raises(MethodError, match="no attention"):
            maps_of(
                REGISTRY.configure("method", name, {}),
                wrapped(corner(kind), kind),
                kind.images(),
                torch.tensor([0, 1]),
            )
