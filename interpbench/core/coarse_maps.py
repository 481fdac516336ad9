"""Maps smaller than the image, brought to its size."""

import torch.nn.functional as F
from torch import Tensor


def enlarged(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps float32 [B,h,w] at the image's size [B,height,width]: bilinearly, corners not aligned.

    Those that have the size already stay as they are.
    """
    if maps.shape[1:] == (height, width):
        return maps
    size = (height, width)
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
