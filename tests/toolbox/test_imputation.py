"""Linear imputation: beside ROAD's own, by a direct solver, and where the answer is known."""

import pytest
import torch
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from torch import Tensor

from interpbench import linear_imputation

GREY_LEVEL = 1 / 255


def photographs(height: int, width: int) -> Tensor:
    """Two smooth images with some noise, [2,3,H,W]."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.linspace(0, 5, height)[:, None], torch.linspace(0, 3, width)
    smooth = torch.stack([(rows * k).sin() + (columns + k).cos() for k in range(6)])
    noise = torch.rand(smooth.shape, generator=generator)
    return (0.2 * smooth + 0.2 * noise + 0.3).view(2, 3, height, width)


def holes(kind: str, share: float, height: int, width: int) -> Tensor:
    """bool [2,1,H,W]: scattered positions, or a blot that grows from a corner and a strip."""
    if kind == "scattered":
        values = torch.rand(2, height * width, generator=torch.Generator().manual_seed(1))
    else:
        rows, columns = torch.arange(height)[:, None], torch.arange(width)
        values = torch.stack([(rows**2 + columns**2).flatten(), (rows + 0 * columns).flatten()])
    ranks = values.argsort(dim=1, stable=True).argsort(1)
    return (ranks < int(share * height * width)).view(2, 1, height, width)


@pytest.mark.parametrize("shape", [(8, 8), (5, 40), (32, 32), (45, 61)])
@pytest.mark.parametrize("kind", ["scattered", "blot"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_equals_a_direct_solver(shape: tuple[int, int], kind: str, share: float) -> None:
    x, removed = photographs(*shape), holes(kind, share, *shape)
    expected = torch.stack(
        [NoisyLinearImputer(noise=0)(image, (~hole[0]).float()) for image, hole in zip(x, removed, strict=True)]
    )  # fmt: skip
    exact = linear_imputation(x, removed, torch.full((3, 1, 1), 1e-5))
    torch.testing.assert_close(exact, expected, rtol=0, atol=GREY_LEVEL / 10)
    usual = linear_imputation(x, removed, torch.full((3, 1, 1), GREY_LEVEL))
    assert (usual - expected).abs().max() < GREY_LEVEL
    assert torch.equal(usual[~removed.expand_as(x)], x[~removed.expand_as(x)])


def test_a_ramp_is_restored_inside_and_a_constant_everywhere() -> None:
    rows, columns = torch.arange(20.0)[:, None], torch.arange(20.0)
    x = torch.stack([(2 * rows - columns) / 20, torch.full((20, 20), 0.7)])[None]
    removed = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    removed[..., 3:17, 2:18] = True
    found = linear_imputation(x, removed, torch.full((2, 1, 1), 1e-5))
    torch.testing.assert_close(found, x, rtol=0, atol=1e-4)
    removed[...] = True
    removed[..., 5, 5] = False
    found = linear_imputation(x, removed, torch.full((2, 1, 1), 1e-5))
    torch.testing.assert_close(found[:, 1], x[:, 1], rtol=0, atol=1e-4)


def test_each_image_and_channel_alone() -> None:
    x = photographs(32, 32)
    removed = torch.cat([holes("scattered", 0.1, 32, 32)[:1], holes("blot", 0.9, 32, 32)[:1]])
    tolerance = torch.full((3, 1, 1), GREY_LEVEL)
    together = linear_imputation(x, removed, tolerance)
    for i in (0, 1):
        alone = linear_imputation(x[i : i + 1, 1:2], removed[i : i + 1], tolerance[:1])
        torch.testing.assert_close(alone, together[i : i + 1, 1:2], rtol=0, atol=GREY_LEVEL / 10)


def test_nothing_removed_changes_nothing() -> None:
    x = photographs(9, 9)
    found = linear_imputation(x, torch.zeros(2, 1, 9, 9, dtype=torch.bool), torch.ones(3, 1, 1))
    assert torch.equal(found, x)
