"""Class activation maps: weighted sums of a convolutional layer's channels."""

from captum.attr import LayerGradCam
from torch import Tensor

from interpbench import Model, method


@method(
    "gradcam",
    coarse=True,
    reference="Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, Grad-CAM, ICCV 2017",
)
def gradcam(model: Model, x: Tensor, target: Tensor, *, layer: str | None = None) -> Tensor:
    """ReLU of the layer's channels, each weighted by the mean of d logit_target / d channel: [B,C,H,W] -> [B,h,w].

    The map has the layer's size. Costs one forward pass and a backward pass to the layer only.

    Parameters:
        layer: dotted name of the layer; none for the one that the model's card names.
    """
    module = model.target_layer if layer is None else model.layer(layer)
    cam = LayerGradCam(model, module).attribute(x, target=target, relu_attributions=True)
    return cam[:, 0]
