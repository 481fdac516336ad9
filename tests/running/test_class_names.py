"""Examples say what a model takes an image for, also where the data set does not have that class."""

from pathlib import Path

from torchvision.models import ResNet18_Weights

import interpbench

PLUGIN = """
import numpy as np

from interpbench import DatasetCard, Sample, dataset


class Two:
    card = DatasetCard("two", ("fish", "dog"), "1", 32, (0.5,) * 3, (0.25,) * 3, imagenet=(0, 217))
    ids, labels = ["a", "b"], [0, 1]

    def __getitem__(self, index):
        pixels = np.random.default_rng(index).integers(0, 256, (32, 32, 3), np.uint8)
        return Sample(self.ids[index], pixels, index)


@dataset("two")
def two():
    "Two of ImageNet's classes."
    return Two()
"""


def test_predicted_classes_have_imagenet_s_names(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(PLUGIN)
    finished = interpbench.run(
        dataset="two", model="resnet18", method="center", metric="deletion:steps=1", weights="random",
        ceiling="none", plugin=tmp_path / "two.py", device="cpu", plots=False, output=tmp_path / "run",
    )  # fmt: skip
    names = ["fish", "dog", *ResNet18_Weights.IMAGENET1K_V1.meta["categories"]]
    examples = finished.tables.examples
    assert [example.true_class for example in examples] == ["fish", "dog"]
    targets = finished.scores.set_index("sample_id")["target"]
    for example in examples:
        known = {0: "fish", 217: "dog"}
        target = int(targets[example.sample_id])
        assert example.predicted_class == known.get(target, names[2 + target])
