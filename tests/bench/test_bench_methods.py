"""What each method costs, in plain forward passes an image, beside captum's and pytorch-grad-cam's."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor

from interpbench.core.devices import memory_kept
from interpbench.core.types import Model
from interpbench.registry.plugin import Configured, MethodReference
from tests.bench import ours, peers
from tests.bench.conftest import Report
from tests.bench.timing import Contender, seconds
from tests.bench.workloads import (
    CIFAR10,
    PLANTED,
    REGISTRY,
    RESNET18,
    VIT,
    Workload,
    eager,
    images,
    plain,
    predicted,
)
from tests.methods.common import difference

METHODS = REGISTRY.names("method")
ON_TOKENS = ("attention-rollout", "attention-gradient")
TURN = 1.0  # seconds of a method, unless it does a whole batch in less
TOO_LONG = 10  # seconds of an image, which none of six rounds is worth
GRADIENT_CAMS = list(peers.CAMS)
Work = Callable[[Model, Tensor, Tensor], Any]


def others(name: str, model: Model, x: Tensor, target: Tensor) -> dict[str, Work]:
    """The same method by others, by what the table calls them."""
    if name == "occlusion":
        best = peers.best_at_once(
            lambda count: peers.captum_occlusion(model, x[:1], target[:1], count)
        )
        return {
            "captum, as it comes": peers.captum_occlusion,
            f"captum, {best} windows a pass": lambda *arguments: peers.captum_occlusion(
                *arguments, at_once=best
            ),
        }
    if name == "integrated-gradients":
        best = model.batch_size
        return {
            "captum, as it comes": peers.captum_integrated_gradients,
            f"captum, {best} a pass": lambda *arguments: peers.captum_integrated_gradients(
                *arguments, at_once=best
            ),
        }
    if name == "gradcam":
        return {
            "captum": peers.captum_gradcam,
            "pytorch-grad-cam": lambda *a: peers.grad_cam("gradcam", *a),
        }
    if name in GRADIENT_CAMS:
        return {"pytorch-grad-cam": lambda *arguments: peers.grad_cam(name, *arguments)}
    if name in SAME:
        return {"captum": SAME[name]}
    works = {r.library: peers.by_reference(r, model, x) for r in references(name)}
    return {
        library: work
        for library, work in works.items()
        if peers.is_possible(work, model, x[:1], target[:1])
    }


def references(name: str) -> list[MethodReference]:
    """What other libraries have of a method, on the same model, all with the parameters of the first."""
    found = [
        reference
        for reference in REGISTRY.plugins("reference")
        if reference.ours == name and not reference.written_out and reference.on is None
    ]
    return [r for r in found if r.configure().values == found[0].configure().values]


def configured(name: str) -> Configured:
    """With its own defaults where it is held against others' by hand, else with the references' parameters."""
    of_others = [] if name in BY_HAND else references(name)
    return REGISTRY.configure("method", name, of_others[0].configure().values if of_others else {})


SAME: dict[str, Work] = {
    "saliency": peers.captum_saliency,
    "guided-backprop": peers.captum_guided_backprop,
}
WITH_PEERS = ["gradcam", "occlusion", "integrated-gradients", *SAME]
BY_HAND = {*WITH_PEERS, *GRADIENT_CAMS}


def apart(expected: Tensor, actual: Any) -> float | None:
    """The greatest difference as a share of the greatest value; none from pytorch-grad-cam, which scales its maps."""
    if not isinstance(actual, Tensor):
        return None
    size = expected.shape[2:]
    actual = F.interpolate(actual[:, None], size=size, mode="bilinear")[:, 0]
    return difference(expected[0].cpu(), actual.cpu())


def chosen(workload: Workload) -> tuple[Model, Tensor, Tensor]:
    """The model, a batch of images, and the classes that it predicts."""
    model = plain(workload)
    x = images(workload, model.batch_size)
    return model, x, predicted(model, x)


def affordable(
    work: Callable[[Tensor, Tensor], Callable[[], Any]], x: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """As many of the images as fit into a turn, one at least."""
    one = work(x[:1], target[:1])
    took = min(seconds(one), seconds(one))
    if took > TOO_LONG:
        pytest.skip(f"an image takes {took:.0f} s")
    count = max(1, min(len(x), int(TURN / took)))
    return x[:count], target[:count]


CASES = [
    *((VIT, name) for name in ON_TOKENS),
    *(
        (size, name)
        for size in (CIFAR10, PLANTED, RESNET18)
        for name in METHODS
        if name not in ON_TOKENS
    ),
]


@pytest.mark.bench
@pytest.mark.parametrize(
    ("workload", "name"), CASES, ids=[f"{w.title}-{name}" for w, name in CASES]
)
def test_method(workload: Workload, name: str, report: Report, quick: bool) -> None:
    if quick and not (workload is PLANTED and name in WITH_PEERS):
        pytest.skip("not in the quick table")
    model, x, target = chosen(workload)
    method = configured(name)
    x, target = affordable(lambda *inputs: ours.maps([method], model, *inputs), x, target)
    given = ", ".join(f"{key}={value}" for key, value in method.values.items())
    note = f"{len(x)} images; {given}" if given else f"{len(x)} images"
    mine = Contender(name, "ours", ours.maps([method], model, x, target), len(x), note=note)
    theirs = [
        Contender(f"{name}, {who}", "peer", lambda work=work: work(model, x, target), len(x), apart)
        for who, work in others(name, model, x, target).items()
    ]
    contenders = [mine, *theirs, eager(workload).turn(TURN / 4)]
    with memory_kept():  # as in a run; for all of them
        report(f"Methods, {workload.title}", "per image", contenders)


@pytest.mark.bench
@pytest.mark.parametrize("workload", [PLANTED, RESNET18], ids=lambda workload: workload.title)
def test_all_gradient_cams_against_one(workload: Workload, report: Report, quick: bool) -> None:
    if quick and workload is not PLANTED:
        pytest.skip("not in the quick table")
    model, x, target = chosen(workload)
    methods = [REGISTRY.configure("method", name, {}) for name in GRADIENT_CAMS]

    def mine(which: Sequence[Any]) -> Callable[[], Any]:
        return ours.maps(which, model, x, target)

    contenders = [
        Contender(f"all {len(methods)}", "ours", mine(methods), len(x)),
        Contender("the first alone", "ours", mine(methods[:1]), len(x)),
        Contender(
            f"all {len(methods)}, pytorch-grad-cam", "peer",
            lambda: [peers.grad_cam(name, model, x, target) for name in GRADIENT_CAMS], len(x),
        ),
        eager(workload).turn(TURN / 4),
    ]  # fmt: skip
    report(
        f"Class activation maps by gradients together, {workload.title}", "per image", contenders
    )
