"""Which class folder is which logit: `classes=` and label files in the forms that people have."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from interpbench.core.errors import DataError, InterpBenchError, ParameterError, WeightsError
from interpbench.core.types import Dataset, DatasetCard
from interpbench.loading.logits import logits_of_labels
from interpbench.loading.model import load_model
from interpbench.loading.stated import stated_by_user
from interpbench.loading.weights import WeightsCard, save_weights
from interpbench.registry.discovery import discover
from tests.command_line import call, refused, undrawn
from tests.picture_commands import record

COLOURS = {"cat": "red", "dog": "lime", "eel": "blue"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three class folders with an image each, in a colour of its own."""
    for name, colour in COLOURS.items():
        (tmp_path / "pets" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), colour).save(tmp_path / "pets" / name / "1.png")
    return tmp_path / "pets"


def make(root: Path, **values: object) -> Dataset:
    found: Dataset = discover().configure("dataset", "imagefolder", {"root": root, **values})()
    return found


def written(root: Path, name: str, content: object) -> Path:
    path = root.parent / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def stated(data: Dataset) -> dict[str, tuple[str, int | None]]:
    """Class folder -> the name that is shown of its class, and its logit."""
    card = data.card
    logits = card.logits or (None,) * len(card.classes)
    return {
        sample.split("/")[0]: (card.classes[label], logits[label])
        for sample, label in zip(data.ids, data.labels, strict=True)
    }


AS_CLASSES = {"cat": ("cat", 3), "dog": ("dog", 1), "eel": ("eel", 0)}
IN_ENGLISH = {"cat": ("Tabby, big", 3), "dog": ("Puppy", 1), "eel": ("Moray", 0)}
BY_NUMBER = {
    "0": ["eel", "Moray"],
    "1": ["dog", "Puppy"],
    "2": ["fox", "Fox"],
    "3": ["cat", "Tabby, big"],
}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("names.txt", "eel\ndog\nfox\n\ncat\n", AS_CLASSES),
        ("names.json", ["eel", "dog", "fox", "cat"], AS_CLASSES),
        ("class_index.json", BY_NUMBER, IN_ENGLISH),
        ("id2label.json", {"0": "eel", "1": "dog", "2": "fox", "3": "cat"}, AS_CLASSES),
        ("label2id.json", {"eel": 0, "dog": 1, "fox": 2, "cat": 3}, AS_CLASSES),
        ("of_folder.csv", "folder,logit\ncat,3\neel,0\nfox,2\ndog,1\n", AS_CLASSES),
        ("of_folder.tsv", "\ufeffcat\t3\neel\t0\ndog\t1\n", AS_CLASSES),
        ("by_number.csv", "index,name\n0,eel\n1,dog\n2,fox\n3,cat\n", AS_CLASSES),
    ],
)
def test_label_files_say_which_logit_a_folder_is(
    root: Path, name: str, content: object, expected: dict[str, tuple[str, int]]
) -> None:
    data = make(root, labels=written(root, name, content))
    assert stated(data) == expected
    assert data.card.logits == (0, 1, 3)  # labels in the order of the logits
    assert data.card.revision != make(root).card.revision  # what labels stand for is part of it
    assert sorted(data.ids) == sorted(make(root).ids)


def test_classes_are_the_names_of_the_logits_in_their_order(root: Path) -> None:
    data = make(root, classes="eel, dog, fox, cat")
    assert stated(data) == AS_CLASSES
    assert data.card.logit_names == ("eel", "dog", "fox", "cat")


def test_a_file_of_names_and_the_order_of_the_names_go_together(root: Path) -> None:
    names = written(root, "names.csv", "folder,class\ncat,Tabby\ndog,Puppy\neel,Moray\n")
    alone = make(root, labels=names)
    assert (alone.card.classes, alone.card.logits) == (("Tabby", "Puppy", "Moray"), None)
    ordered = make(root, labels=names, classes="Moray,Fox,Puppy,Tabby")
    assert stated(ordered) == {"cat": ("Tabby", 3), "dog": ("Puppy", 2), "eel": ("Moray", 0)}


def test_folders_may_be_called_by_numbers(tmp_path: Path) -> None:
    for number in ("0", "3"):
        (tmp_path / "pets" / number).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "pets" / number / "1.png")
    index = written(tmp_path / "pets", "class_index.json", BY_NUMBER)
    assert stated(make(tmp_path / "pets", labels=index)) == {
        "0": ("Moray", 0),
        "3": ("Tabby, big", 3),
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", {"cat": 0, "dog": 1}, "says nothing of class folder 'eel'"),
        ("a.json", {"cat": 0, "dog": 1, "eel": 0}, "gives 2 class folders the class 0"),
        ("a.csv", "cat,pet\ndog,pet\neel,fish\n", "gives 2 class folders the class 'pet'"),
        ("a.json", {"cat": 0, "dog": 1, "eel": "fish"}, "gives a logit for 'cat' and a name for 'eel'"),
        ("a.txt", "cat\ndog\neels\n", "Unknown class of Label file .*: 'eel'. Did you mean 'eels'"),
        ("a.txt", "cat\ndog\neel\neel\n", "calls several logits 'eel': 2, 3"),
        ("a.json", {"cat": -1, "dog": 1, "eel": 2}, "says -1 of a class folder"),
        ("a.json", {"0": 5}, "calls a logit 5"),
        ("a.json", "{", "cannot be read"),
        ("a.json", '{"cat": 0, "dog": 1, "eel": 2, "cat": 1}', "cannot be read .*'cat' is there twice"),
        ("a.json", "[" * 3000 + "]" * 3000, "is nested too deeply"),
        ("a.json", '{"cat": ' + "9" * 5000 + "}", "cannot be read"),
        ("a.csv", "cat,0\ndog,1\neel,\u0663\n", "gives a logit for 'cat' and a name for 'eel'"),
        ("a.csv", "cat,0\ndog,1\neel," + "9" * 5000 + "\n", "gives a logit for 'cat' and a name for 'eel'"),
        ("a.json", {}, "holds no labels"),
        ("a.csv", "cat;0\ndog;1\n", "a row of 1 columns"),
        ("a.csv", "cat,0\ndog,1\ncat,2\n", "has 'cat' twice"),
    ],
)  # fmt: skip
def test_misfits_are_one_sentence(root: Path, name: str, content: object, message: str) -> None:
    with pytest.raises(InterpBenchError, match=message):
        make(root, labels=written(root, name, content))


def test_classes_and_files_that_cannot_both_be_are_refused(root: Path) -> None:
    with pytest.raises(ParameterError, match="has a name twice"):
        make(root, classes="cat,dog,cat")
    with pytest.raises(ParameterError, match=r"names the logits, and so does classes="):
        make(root, classes="cat,dog,eel", labels=written(root, "names.txt", "cat\ndog\neel\n"))
    with pytest.raises(DataError, match=r"cannot be read \(.*No such file"):
        make(root, labels=root / "absent.json")


# --- a model's logits


OWN = """
import torch
from interpbench import Pretrained

NAMES = {names}
pretrained = Pretrained(source="colours", size=8, mean=(0.0,) * 3, std=(1.0,) * 3, classes=NAMES)


def build():
    "Logits 0 and 3 are how blue and how red an image is, logit 1 how green."
    layer = torch.nn.Conv2d(3, 4, 1, bias=False)
    layer.weight.data = torch.tensor([[0, 0, 9], [0, 9, 0], [0, 0, 0], [9, 0, 0.0]])[..., None, None]
    return torch.nn.Sequential(layer, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
"""


def own(folder: Path, names: tuple[str, ...]) -> str:
    (folder / "own.py").write_text(OWN.format(names=names))
    return f"{folder / 'own.py'}:build"


RUN = [
    "--method",
    "random",
    "--metric",
    "deletion",
    "--ceiling",
    "none",
    "--device",
    "cpu",
    "--overwrite",
]


@undrawn()
def test_a_run_reads_the_logits_that_are_stated(root: Path, tmp_path: Path) -> None:
    """Every image is of its class's colour, so that only the right logits give full accuracy."""
    model = own(tmp_path, ())
    arguments = ["run", "--model", model, *RUN, "--output", tmp_path / "run"]
    labels = written(root, "labels.json", BY_NUMBER)
    code, out, error = call(*arguments, "--dataset", f"imagefolder:root={root},labels={labels}")
    assert code == 0, out + error
    assert "accuracy 100.0% on 3 images" in out
    message = refused(*arguments, "--dataset", f"imagefolder:root={root}")
    assert "gives 4 logits, but data set 'pets' has 3 classes" in message
    assert "labels=FILE" in message
    message = refused(*arguments, "--dataset", f'imagefolder:root={root},classes="cat,dog,eel"')
    assert "gives 4 logits, but what is said of the classes of 'pets' takes 3 logits" in message


def test_explain_names_all_of_the_logits(root: Path, tmp_path: Path) -> None:
    data = f"imagefolder:root={root},labels={written(root, 'labels.json', BY_NUMBER)}"
    code, out, error = call(
        "explain", root / "cat", "--model", own(tmp_path, ()), "--method", "saliency", "--dataset", data,
        "--device", "cpu", "--output", tmp_path / "out",
    )  # fmt: skip
    assert code == 0, out + error
    [panel] = record(tmp_path / "out")["images"]
    assert [p["class"] for p in panel["predictions"]] == ["Tabby, big", "Moray", "Puppy", "Fox"]


@undrawn()
def test_a_model_that_names_its_classes_is_matched_by_name(root: Path, tmp_path: Path) -> None:
    model = own(tmp_path, ("eel", "dog", "fox", "cat"))
    arguments = ["run", "--model", model, *RUN, "--output", tmp_path / "run"]
    code, out, error = call(*arguments, "--dataset", f"imagefolder:root={root}")
    assert code == 0, out + error
    assert "accuracy 100.0% on 3 images" in out
    contradicting = written(root, "labels.json", {"cat": 0, "dog": 1, "eel": 2})
    message = refused(*arguments, "--dataset", f"imagefolder:root={root},labels={contradicting}")
    assert "'cat' is said to be logit 0, which it calls 'eel'" in message
    (root / "ant").mkdir()
    Image.new("RGB", (8, 8)).save(root / "ant" / "1.png")
    message = refused(*arguments, "--dataset", f"imagefolder:root={root}")
    assert "knows 4 classes (eel, dog, fox, cat) but not 'ant'" in message


def test_weights_without_a_card_have_as_many_logits_as_they_have(
    root: Path, tmp_path: Path
) -> None:
    choice = discover().configure("model", "resnet18", {"width": 2})
    torch.save(choice(7, 8).state_dict(), tmp_path / "seven.pth")
    given = {"weights": str(tmp_path / "seven.pth"), "stated": stated_by_user("imagenet", size=8)}
    card = make(root, labels=written(root, "a.json", {"cat": 6, "dog": 4, "eel": 0})).card
    loaded = load_model(choice, card, **given)
    assert (loaded.card.classes, loaded.card.logit_of_label) == (7, (0, 4, 6))
    too_far = make(root, labels=written(root, "a.json", {"cat": 7, "dog": 4, "eel": 0})).card
    with pytest.raises(
        WeightsError, match=r"gives 7 logits, 0 to 6, but the labels of 'pets' go up to 7"
    ):
        load_model(choice, too_far, **given)


def test_weights_with_a_card_are_matched_by_its_names_or_as_stated(
    root: Path, tmp_path: Path
) -> None:
    choice = discover().configure("model", "resnet18", {"width": 2})
    names = ("eel", "dog", "fox", "cat")
    of_weights = WeightsCard("resnet18", {"width": 2}, "zoo", "1", names, 8, (0.5,) * 3, (0.2,) * 3)
    path = tmp_path / "zoo.safetensors"
    save_weights(path, choice(4, 8).state_dict(), of_weights)
    assert load_model(choice, make(root).card, weights=str(path)).card.logit_of_label == (3, 1, 0)
    english = make(root, labels=written(root, "a.json", {"cat": 3, "dog": 1, "eel": 0}))
    assert load_model(choice, english.card, weights=str(path)).card.logit_of_label == (0, 1, 3)
    wrong = make(root, labels=written(root, "a.json", {"cat": 0, "dog": 1, "eel": 3}))
    with pytest.raises(WeightsError, match="'cat' is said to be logit 0, which it calls 'eel'"):
        load_model(choice, wrong.card, weights=str(path))


def test_what_neither_names_nor_numbers_tell_is_not_guessed() -> None:
    pets = DatasetCard("pets", ("cat", "dog"), "1", imagenet=(281, 207))
    assert logits_of_labels(pets, 2) == (0, 1)
    assert logits_of_labels(pets, 1000) == (281, 207)
    assert logits_of_labels(pets, 10) is None
    assert logits_of_labels(pets, 2, ["dog", "cat"]) == (1, 0)
    assert logits_of_labels(pets, 2, ["dogs", "cats"]) is None  # in which order, nobody knows


def test_a_missing_split_says_what_there_is_instead(root: Path) -> None:
    with pytest.raises(DataError, match=r"pets holds cat, dog, eel\. Expected .*pets/test/CLASS"):
        make(root, split="test")
