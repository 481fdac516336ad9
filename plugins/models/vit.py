"""Vision transformers (Dosovitskiy et al., ICLR 2021), from torchvision."""

from pydantic import PositiveInt
from torch import nn
from torchvision import models
from torchvision.models import VisionTransformer

from interpbench import model

REFERENCE = "Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, ICLR 2021"
HEAD = 64  # channels of an attention head
# Behind the last attention only the class token matters, so CAM methods look at what goes into it.
LAST_TOKENS = "encoder.layers.-1.ln_1"


@model(
    "vit_b_16",
    reference=REFERENCE,
    licence="BSD-3-Clause",
    target_layer=LAST_TOKENS,
    pretrained=models.ViT_B_16_Weights.IMAGENET1K_V1,
)
def vit_b_16(classes: int, size: int) -> nn.Module:
    """ViT-B/16: torchvision's own, patches of 16 pixels, for any size that is a multiple of 16.

    Raises:
        ValueError: for another size.
    """
    _check_size(size, 16)
    return _with_a_head(models.vit_b_16(num_classes=classes, image_size=size))


@model("vit_small", reference=REFERENCE, target_layer=LAST_TOKENS)
def vit_small(
    classes: int,
    size: int,
    *,
    width: PositiveInt = 192,
    depth: PositiveInt = 6,
    patch: PositiveInt | None = None,
) -> nn.Module:
    """A small vision transformer.

    torchvision's blocks, with heads of 64 channels and a hidden layer of twice the width.

    Args:
        width: channels of a token; a multiple of 64, or less than 128.
        depth: number of encoder blocks.
        patch: side of a patch in pixels; by default 4 up to 32 pixels, 8 up to 64, 16 above.

    Raises:
        ValueError: for another width, or a size that is no multiple of the patches'.
    """
    patch = patch or (4 if size <= 32 else 8 if size <= 64 else 16)
    heads = max(1, width // HEAD)
    _check_size(size, patch)
    if width % heads:
        raise ValueError(f"width={width} cannot be shared among {heads} heads: give a multiple of {HEAD}")
    network = VisionTransformer(
        image_size=size,
        patch_size=patch,
        num_layers=depth,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=2 * width,
        num_classes=classes,
    )
    return _with_a_head(network)


def _check_size(size: int, patch: int) -> None:
    if size % patch:
        raise ValueError(f"images of {size} pixels cannot be cut into patches of {patch}: give a multiple of {patch}")


def _with_a_head(network: VisionTransformer) -> VisionTransformer:
    """Starts from a random head: torchvision's is zero, and all maps of an untrained model would be constant."""
    nn.init.trunc_normal_(network.heads.head.weight, std=0.02)
    return network
