"""Class activation maps: weighted sums of a layer's channels, the weights from their gradients.

A is the layer's output, channels A_k, and g = d logit_target / d A. All have the layer's size; a transformer's tokens
are put back into their grid, without the class token. Each costs one forward pass and a backward pass to the layer
only. pytorch-grad-cam is the reference for all, but for the constants that it adds to denominators: they change maps
whose gradients are small, and are left out here.
"""

from torch import Tensor

from interpbench import Model, activations_and_gradients, method


@method(
    "gradcam",
    coarse=True,
    reference="Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, Grad-CAM, ICCV 2017",
)
def gradcam(model: Model, x: Tensor, target: Tensor, *, layer: str | None = None) -> Tensor:
    """ReLU of the layer's channels, each weighted by the mean of d logit_target / d channel: [B,C,H,W] -> [B,h,w].

    The map has the layer's size; a transformer's tokens are put back into their grid, without the class token. Costs
    one forward pass and a backward pass to the layer only.

    Parameters:
        layer: dotted name of the layer; none for the one that the model's card names.
    """
    activation, gradient = activations_and_gradients(model, layer, x, target)
    weight = gradient.mean((2, 3), keepdim=True)
    return (weight * activation).sum(1).relu()


@method(
    "gradcam-plus-plus",
    coarse=True,
    reference="Chattopadhay, Sarkar, Howlader, Balasubramanian, Grad-CAM++, WACV 2018",
)
def gradcam_plus_plus(model: Model, x: Tensor, target: Tensor, *, layer: str | None = None) -> Tensor:
    """Grad-CAM with a weight for each position, so that several objects count alike: [B,C,H,W] -> [B,h,w].

    ReLU(sum_k w_k A_k) with w_k = sum of alpha · ReLU(g) and alpha = g² / (2 g² + g³ · sum of A_k), the paper's
    equation 19 for the exponential of the logit (whose own factor is the same everywhere); alpha is 0 where it would
    be 0/0. Unlike the other maps it depends on the scale of the logits.

    Parameters:
        layer: dotted name of the layer; none for the one that the model's card names.
    """
    activation, gradient = activations_and_gradients(model, layer, x, target)
    below = 2 + gradient * activation.sum((2, 3), keepdim=True)  # both sides divided by g²
    alpha = ((gradient != 0) & (below != 0)) / below.where(below != 0, 1)
    weight = (alpha * gradient.relu()).sum((2, 3), keepdim=True)
    return (weight * activation).sum(1).relu()


@method("xgradcam", coarse=True, reference="Fu, Hu, Dong, Guo, Gao, Li, Axiom-based Grad-CAM, BMVC 2020")
def xgradcam(model: Model, x: Tensor, target: Tensor, *, layer: str | None = None) -> Tensor:
    """Grad-CAM whose gradients are averaged with the activations as weights: [B,C,H,W] -> [B,h,w].

    ReLU(sum_k w_k A_k) with w_k = sum of (A_k / sum of A_k) g. A channel whose sum is zero counts nothing.

    Parameters:
        layer: dotted name of the layer; none for the one that the model's card names.
    """
    activation, gradient = activations_and_gradients(model, layer, x, target)
    total = activation.sum((2, 3), keepdim=True)
    weight = (activation * gradient).sum((2, 3), keepdim=True) / total.where(total != 0, 1)
    return (weight * (total != 0) * activation).sum(1).relu()


@method("layercam", coarse=True, reference="Jiang, Zhang, Hou, Cheng, Wei, LayerCAM, IEEE TIP 2021")
def layercam(model: Model, x: Tensor, target: Tensor, *, layer: str | None = None) -> Tensor:
    """Each activation weighted by its own positive gradient, ReLU(sum_k ReLU(g) A_k): [B,C,H,W] -> [B,h,w].

    Parameters:
        layer: dotted name of the layer, also of an early one; none for the one that the model's card names.
    """
    activation, gradient = activations_and_gradients(model, layer, x, target)
    return (gradient.relu() * activation).sum(1).relu()


@method("hirescam", coarse=True, reference="Draelos, Carin, Use HiResCAM instead of Grad-CAM, arXiv 2011.08891, 2020")
def hirescam(model: Model, x: Tensor, target: Tensor, *, layer: str | None = None) -> Tensor:
    """Each activation times its own gradient, ReLU(sum_k g A_k): [B,C,H,W] -> [B,h,w].

    Where only a linear layer follows, the sum before the ReLU is the logit less its bias.

    Parameters:
        layer: dotted name of the layer; none for the one that the model's card names.
    """
    activation, gradient = activations_and_gradients(model, layer, x, target)
    return (gradient * activation).sum(1).relu()
