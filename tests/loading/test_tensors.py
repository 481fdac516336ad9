"""Images in memory as a data set: what becomes of pixels, of normalised numbers, of labels; and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from interpbench.core.errors import DataError, InterpBenchError, PreparationError
from interpbench.core.preparation import Stated, settle
from interpbench.core.types import DatasetCard, Sample, normalise
from interpbench.loading.stated import stated_by_user
from interpbench.loading.tensors import take_images

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
PIXELS = torch.rand(4, 3, 6, 8, generator=torch.Generator().manual_seed(0))
BYTES = (PIXELS * 255).to(torch.uint8)
STATED = stated_by_user(mean=MEAN, std=STD)
NORMALISED = (PIXELS - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def pixels(images: Any, stated: Stated = STATED) -> np.ndarray:
    """What a model's images are then made from, [N,H,W,C]."""
    dataset = take_images(images, stated=stated).dataset
    return np.stack([dataset[i].image for i in range(len(dataset.ids))])


@pytest.mark.parametrize(
    "given", [BYTES, BYTES.numpy(), PIXELS, PIXELS.numpy(), PIXELS.requires_grad_()]
)
def test_pixels_stay_as_they_are(given: Any) -> None:
    taken = pixels(given)
    expected = torch.as_tensor(given).detach().permute(0, 2, 3, 1).numpy()
    assert taken.dtype == expected.dtype
    assert (taken == expected).all()


@pytest.mark.parametrize(
    ("dtype", "close"), [(torch.float32, 1e-6), (torch.float64, 1e-6), (torch.float16, 1e-3)]
)
def test_normalised_numbers_are_brought_back_to_pixels_and_it_is_said(
    dtype: torch.dtype, close: float
) -> None:
    taken = take_images(NORMALISED.detach().to(dtype), stated=STATED)
    assert (
        np.abs(
            pixels(NORMALISED.detach().to(dtype)) - PIXELS.detach().permute(0, 2, 3, 1).numpy()
        ).max()
        < close
    )
    assert "taken to be normalised by mean 0.5 0.4 0.3 and std 0.2 0.25 0.3" in taken.notices[0]
    [notice] = take_images(PIXELS.detach(), stated=STATED).notices
    assert "taken to be pixels in 0..1, and are normalised by mean 0.5 0.4 0.3" in notice
    whole = take_images(NORMALISED.detach(), stated=stated_by_user(mean=0, std=1))
    preparation = settle([whole.stated])
    assert preparation is not None
    given = [torch.from_numpy(whole.dataset[i].image) for i in range(len(whole.dataset.ids))]
    made = normalise(torch.stack(given), preparation)
    torch.testing.assert_close(made, NORMALISED.detach().float(), atol=1e-5, rtol=1e-5)
    assert "takes them as they are" in whole.notices[0]


def test_the_input_has_the_images_own_size_and_one_number_counts_for_all_channels() -> None:
    for count, channels in ((1, "grey"), (3, "rgb"), (5, "own")):
        taken = take_images(torch.rand(2, count, 6, 8), stated=stated_by_user(mean=0.5, std=0.25))
        preparation = settle([taken.stated])
        assert preparation is not None
        assert (preparation.shape, preparation.resize) == ((count, 6, 8), None)
        assert (preparation.mean, preparation.channels) == ((0.5,) * count, channels)
    named = settle([take_images(PIXELS.detach(), stated=stated_by_user("imagenet")).stated])
    assert named is not None
    assert named.shape == (3, 6, 8)  # whatever the size that goes with the name
    resized = take_images(
        PIXELS.detach(), stated=stated_by_user("imagenet", size=32), resized=True
    ).stated
    assert resized.size == 32


class Pairs(torch.utils.data.Dataset):
    """A torch Dataset of any items."""

    def __init__(self, items: list[Any], classes: tuple[str, ...] | None = None) -> None:
        self.items = items
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def test_a_torch_dataset_gives_images_labels_and_classes() -> None:
    for images in (BYTES, [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in BYTES]):
        pairs = Pairs(
            [(image, torch.tensor(i % 2)) for i, image in enumerate(images)], ("cat", "dog")
        )
        dataset = take_images(pairs).dataset
        assert (dataset.card.name, dataset.card.classes) == ("Pairs", ("cat", "dog"))
        assert list(dataset.labels) == [0, 1, 0, 1]
        assert list(dataset.ids) == ["0001", "0002", "0003", "0004"]
        assert (
            np.stack([dataset[i].image for i in range(4)]) == BYTES.permute(0, 2, 3, 1).numpy()
        ).all()
    subset = torch.utils.data.Subset(pairs, [2, 3])
    assert list(take_images(subset).dataset.labels) == [0, 1]


def test_labels_are_logits_unless_the_classes_are_named() -> None:
    unnamed = take_images(BYTES, [0, 2, 1, 2]).dataset.card
    assert (unnamed.classes, unnamed.logits) == (("0", "1", "2"), (0, 1, 2))
    named = take_images(BYTES, np.array([0, 2, 1, 2]), ["a", "b", "c"]).dataset.card
    assert (named.classes, named.logits) == (("a", "b", "c"), None)
    unlabelled = take_images(BYTES).dataset
    assert (unlabelled.card.classes, list(unlabelled.labels)) == ((), [-1] * 4)


def test_the_revision_changes_with_pixels_labels_and_classes() -> None:
    other = BYTES.clone()
    other[3, 2, 5, 7] += 1
    taken = [
        take_images(BYTES, [0, 1, 0, 1]), take_images(other, [0, 1, 0, 1]), take_images(BYTES, [0, 1, 1, 1]),
        take_images(BYTES, [0, 1, 0, 1], ["a", "b"]), take_images(BYTES.float() / 255, [0, 1, 0, 1]),
    ]  # fmt: skip
    assert len({one.dataset.card.revision for one in taken}) == 5
    again = take_images(BYTES.clone(), (0, 1, 0, 1)).dataset.card.revision
    assert again == taken[0].dataset.card.revision


def test_a_data_set_of_ours_is_taken_as_it_is() -> None:
    class Blank:
        card = DatasetCard("blank", ("nothing",), "1")
        ids, labels = ("a",), (0,)

        def __getitem__(self, index: int) -> Sample:
            raise AssertionError("nobody asked for an image")

    blank = Blank()
    assert take_images(blank).dataset is blank
    with pytest.raises(DataError, match="this data set has its own"):
        take_images(blank, [0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: take_images(NORMALISED, stated=Stated()), "State mean=... and std=..."),
        (lambda: take_images(NORMALISED * 9, stated=STATED), "and not in 0..1"),
        (lambda: take_images(PIXELS * 255, stated=STATED), "as uint8 or in 0..1"),
        (lambda: take_images(NORMALISED, stated=stated_by_user(mean=[0.1, 0.2], std=0.5)), "3 channels, the mean 2"),
        (lambda: take_images(torch.zeros(2, 3, 4, 4, dtype=torch.int64)), "expected torch.uint8"),
        (lambda: take_images(torch.full((1, 3, 4, 4), torch.nan)), "not finite"),
        (lambda: take_images(torch.zeros(2, 16, 16, 3)), "channels last"),
        (lambda: take_images(torch.zeros(0, 3, 4, 4)), r"expected [N,C,H,W]"),
        (lambda: take_images(torch.zeros(4, 4)), r"expected [N,C,H,W]"),
        (lambda: take_images(3.5), "is a float; expected a tensor"),
        (lambda: take_images([]), "is an empty list"),
        (lambda: take_images(["a.png"]), "holds a str"),
        (lambda: take_images([BYTES[0], (BYTES[1], 0)]), "others are not"),
        (lambda: take_images([Image.new("I;16", (4, 4))]), "mode 'I;16'"),
        (lambda: take_images(torch.utils.data.DataLoader(Pairs([]))), "loader.dataset"),
        (lambda: take_images(BYTES, [0, 1]), "4 images and 2 labels"),
        (lambda: take_images(BYTES, torch.eye(4)), ".argmax(1)"),
        (lambda: take_images(BYTES, [0.5] * 4), "must be whole numbers"),
        (lambda: take_images(BYTES, "cats"), "must be whole numbers"),
        (lambda: take_images(BYTES, [0, 1, 2, -1]), "below 0"),
        (lambda: take_images(BYTES, [0, 1, 2, 3], ["a", "b"]), "names 2 classes"),
    ],
)  # fmt: skip
def test_what_cannot_be_known_is_refused_in_a_sentence(
    call: Callable[[], Any], message: str
) -> None:
    with pytest.raises(InterpBenchError) as error:
        call()
    assert message in str(error.value)


def test_half_a_rounding_is_no_error() -> None:
    black = torch.zeros(1, 3, 4, 4)
    x = ((black - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]).half()
    assert pixels(x).min() == 0
    with pytest.raises(PreparationError):
        pixels(x - 0.05)


def test_numbers_that_are_all_the_same_span_no_range() -> None:
    with pytest.raises(PreparationError, match="numbers from 5 to 5"):
        take_images(torch.full((2, 3, 4, 4), 5.0), stated=stated_by_user(mean=0, std=1))
