"""What is wrong with the logits of a randomised copy, and how far they are from the original's."""

import pytest
import torch
from torch import nn

from interpbench.studies.sanity.copy_logits import CopyLogits, logits_of
from interpbench.toolbox.randomise import Randomiser
from tests.tiny_models import wrap
from tests.toolbox.test_randomise import images, normed


@pytest.mark.parametrize(
    ("odd", "note"),
    [("nan", "logits not finite"), ("0", "logits dead"), ("keep", "logits unchanged")],
)
def test_what_is_wrong_with_the_logits_is_said(odd: str, note: str) -> None:
    model, x = normed(odd), images()
    before = logits_of(model, x)
    found = [CopyLogits.of(made.model, x, before) for made in Randomiser(model, x, 0).independent()]
    assert [each.note for each in found] == ["", note, "", "", ""]
    assert found[0].spread > 0.01


def test_the_spread_of_logits_is_a_share_of_the_models() -> None:
    model, x = wrap(nn.Sequential(nn.Flatten(), nn.Linear(192, 5))), images()
    [made] = Randomiser(model, x, 0).complete()
    found = CopyLogits.of(made.model, x, logits_of(model, x))
    with torch.no_grad():
        after, before = made.model(x), model(x)
    ranges = [(each.max(0).values - each.min(0).values).max() for each in (after, before)]
    assert found.spread == pytest.approx(float(ranges[0] / ranges[1]))
    assert found.same == float((after.argmax(1) == before.argmax(1)).double().mean())
