"""`gallery`: predictions and confusions against slow loops, which samples it shows, its pages, and what it refuses."""

import csv
import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from interpbench import api
from interpbench.attribution.explainer import Explainer
from interpbench.attribution.model_and_methods import ModelAndMethods, load_model_and_methods
from interpbench.core.types import Dataset
from interpbench.drawing.overlay import Look
from interpbench.drawing.style import style
from interpbench.files.output_folder import OutputFolder
from interpbench.files.records import Record
from interpbench.registry.choosing import Sources
from interpbench.registry.discovery import discover
from interpbench.studies.pictures import gallery as pictures
from interpbench.studies.pictures import panels
from interpbench.studies.pictures.confusion_plot import (
    OTHER,
    _confusion,
    confusion_table,
    draw_confusion,
    row_percentages,
)
from interpbench.studies.pictures.gallery import _rows
from interpbench.studies.pictures.job import PictureJob
from interpbench.studies.pictures.panels import DPI, Row, _page, draw_page
from interpbench.studies.pictures.predictions import Predictions, confusion, predict, select
from tests.command_line import call, refused
from tests.paths import TINY
from tests.picture_commands import CPU, content, draw_coarsely, overlapping, record
from tests.tiny_models import card

PLUGIN = """
import torch
from interpbench import method, model

@model("half-right")
def half_right(classes, size):
    '''Brightness of the quadrants, but south is taken for north where the image begins with an even number.'''
    return Confused()

class Confused(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        logits = self.gain * torch.nn.functional.adaptive_avg_pool2d(x.mean(1), 2).flatten(1)
        even = (((x[:, 0, 0, 0] * 0.25 + 0.5) * 255).round() % 2 == 0)[:, None]
        return torch.where(even, logits[:, [2, 3, 0, 1]], logits)

@method("tells-target")
def tells_target(model, x, target):
    '''A ramp, times one more than the target.'''
    return (target + 1.0)[:, None, None] * torch.linspace(0, 1, x[0, 0].numel()).view(x[0, 0].shape)
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(PLUGIN)
    return tmp_path / "mine.py"


@pytest.fixture
def base(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    draw_coarsely(monkeypatch)
    data = ["--dataset", "tiny", "--model", "half-right", "--weights", "random", "--device", "cpu"]
    return ["gallery", *data, "--plugin", TINY, "--plugin", plugin, "--method", "tells-target"]


def opened(plugin: Path, **parameters: str) -> tuple[Dataset, ModelAndMethods]:
    registry = discover([TINY, plugin])
    data = registry.configure("dataset", "tiny", parameters)()
    methods = ["tells-target"]
    return data, load_model_and_methods(
        registry, "half-right", methods, data.card, Sources(weights=("random",))
    )


def slowly(data: Dataset, explained: ModelAndMethods) -> list[tuple[str, int, int, list[float]]]:
    """Id, label, prediction and probabilities of each sample, one after the other, by numpy and the network alone."""
    rows = []
    for index in range(len(data.ids)):
        sample = data[index]
        x = (sample.image.astype(np.float32) / 255 - 0.5) / 0.25
        with torch.no_grad():
            logits = (
                explained.model.network(torch.from_numpy(x).permute(2, 0, 1)[None])[0]
                .double()
                .numpy()
            )
        probabilities = np.exp(logits) / np.exp(logits).sum()
        rows.append((sample.id, sample.label, int(probabilities.argmax()), probabilities.tolist()))
    return rows


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_and_confusions_are_those_of_a_slow_loop(plugin: Path) -> None:
    data, explained = opened(plugin)
    found = predict(Explainer(explained, CPU, 0), data, range(40))
    expected = slowly(data, explained)
    assert found.ids == tuple(row[0] for row in expected)
    assert found.labels.tolist() == [row[1] for row in expected]
    assert found.predicted.tolist() == [row[2] for row in expected]
    np.testing.assert_allclose(found.probability, [max(row[3]) for row in expected], rtol=1e-5)
    np.testing.assert_allclose(
        found.true_probability, [row[3][row[1]] for row in expected], rtol=1e-5
    )
    assert 0.2 < found.accuracy < 0.8  # the model is of use to these tests
    counts = [[0] * 4 for _ in range(4)]
    for _, label, predicted, _ in expected:
        counts[label][predicted] += 1
    assert confusion(found.labels, found.predicted, explained.model.card).tolist() == counts


def test_predictions_of_other_classes_have_a_column_of_their_own() -> None:
    """As where ImageNet's logits are asked about ten of its classes."""
    wide = replace(card(8, 6), logit_of_label=(4, 1, 2))
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([4, 1, 1, 4, 0, 5])
    assert confusion(labels, predicted, wide).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 2]]
    assert confusion(labels[:4], predicted[:4], wide).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_as_a_user_runs_it(tmp_path: Path, base: list[object], plugin: Path) -> None:
    output = ["--count", "12", "--output", tmp_path / "out"]
    code, out, error = call(*base, *output)
    assert code == 0, error
    expected = {row[0]: row for row in slowly(*opened(plugin))}
    wrong = [row for row in expected.values() if row[1] != row[2]]
    rows = table(tmp_path / "out" / "gallery.csv")
    names = ["nw", "ne", "sw", "se"]
    assert len(rows) == 12
    for row in rows:
        _, label, predicted, probabilities = expected[row["id"]]
        assert label != predicted
        assert (row["true"], row["predicted"]) == (names[label], names[predicted])
        assert float(row["probability"]) == pytest.approx(max(probabilities), rel=1e-5)
        assert float(row["probability_of_true"]) == pytest.approx(probabilities[label], rel=1e-5)
    most_certain = sorted(wrong, key=lambda row: -max(row[3]))[:12]
    assert [row["id"] for row in rows] == [row[0] for row in most_certain]
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {
        "gallery-01.png",
        "gallery-02.png",
        "confusion.png",
    }
    shown = record(tmp_path / "out", "gallery")
    assert (shown["classified"], shown["misclassified"], shown["drawn"]) == (40, len(wrong), 12)
    accuracy = 1 - len(wrong) / 40
    assert shown["accuracy"] == pytest.approx(accuracy)
    assert f"accuracy {accuracy:.1%} on 40 images; misclassified: {len(wrong)}. Drawn: 12" in out
    before = content(tmp_path / "out")
    assert call(*base, *output)[0] == 2
    assert call(*base, *output, "--overwrite")[0] == 0
    after = content(tmp_path / "out")
    assert {k: v for k, v in after.items() if k != "gallery.json"} == {
        k: v for k, v in before.items() if k != "gallery.json"
    }


def test_the_confusion_table_has_counts_and_percentages(
    tmp_path: Path, base: list[object], plugin: Path
) -> None:
    assert call(*base, "--count", "1", "--output", tmp_path / "out")[0] == 0
    expected = Counter((row[1], row[2]) for row in slowly(*opened(plugin)))
    names = ["nw", "ne", "sw", "se"]
    rows = table(tmp_path / "out" / "confusion.csv")
    assert [row["true"] for row in rows] == names
    for label, row in enumerate(rows):
        assert int(row["images"]) == 10
        for predicted, name in enumerate(names):
            assert int(row[f"predicted: {name}"]) == expected[label, predicted]
            assert float(row[f"percent: {name}"]) == 10 * expected[label, predicted]


def test_correct_and_all_are_balanced_and_depend_on_the_seed(
    tmp_path: Path, base: list[object], plugin: Path
) -> None:
    expected = {row[0]: row for row in slowly(*opened(plugin))}
    seen = {}
    for only in ("correct", "all"):
        for seed in (0, 1):
            output = tmp_path / f"{only}{seed}"
            arguments = ["--only", only, "--count", "8", "--seed", seed, "--output", output]
            assert call(*base, *arguments)[0] == 0
            rows = table(output / "gallery.csv")
            seen[only, seed] = [row["id"] for row in rows]
            classes = [row["true"] for row in rows]
            assert Counter(classes) == dict.fromkeys(("nw", "ne", "sw", "se"), 2)
            assert classes == sorted(classes, key=["nw", "ne", "sw", "se"].index)
            if only == "correct":
                assert all(row["true"] == row["predicted"] for row in rows)
    assert seen["all", 0] != seen["all", 1]
    right = [expected[i][1] == expected[i][2] for i in seen["all", 0]]
    assert any(right)
    assert not all(right)


def test_a_choice_too_small_for_all_classes_still_takes_turns() -> None:
    found = Predictions(
        indices=np.arange(9), ids=tuple("abcdefghi"), labels=np.array([0, 0, 0, 0, 0, 0, 1, 1, 2]),
        true=np.array([0, 0, 0, 0, 0, 0, 1, 1, 2]), predicted=np.array([0, 0, 0, 0, 1, 0, 1, 1, 2]),
        true_probability=np.ones(9), probability=np.linspace(0.1, 0.9, 9),
    )  # fmt: skip
    data = Labelled(found)
    for seed in range(5):
        assert sorted(found.labels[select(found, data, "correct", 3, seed)]) == [0, 1, 2]
        assert sorted(found.labels[select(found, data, "correct", 5, seed)]) == [0, 0, 1, 1, 2]
        assert 4 not in select(found, data, "correct", 8, seed)
        assert select(found, data, "misclassified", 5, seed) == [4]
    assert select(found, data, "all", 100, 0) == list(range(9))


class Labelled:
    """Ids and labels without images."""

    def __init__(self, found: Predictions) -> None:
        self.ids, self.labels = found.ids, found.labels.tolist()
        self.card = card(8, 3)


def test_where_nothing_is_misclassified_the_confusion_matrix_is_drawn_all_the_same(
    tmp_path: Path,
) -> None:
    arguments = [
        "--dataset",
        "tiny",
        "--model",
        "quadrants",
        "--weights",
        "random",
        "--plugin",
        TINY,
        "--device",
        "cpu",
    ]
    # Random weights would guess; a positive constant, which the plugin sets itself, reads the class off.
    code, out, _ = call("gallery", *arguments, "--method", "gradient", "--output", tmp_path / "out")
    assert code == 0
    assert "accuracy 100.0% on 40 images" in out
    assert "No misclassified sample" in out
    files = {"confusion.png", "confusion.csv", "gallery.csv", "gallery.json"}
    assert set(content(tmp_path / "out")) == files
    assert table(tmp_path / "out" / "gallery.csv") == []
    assert (
        tmp_path / "out" / "gallery.csv"
    ).read_text() == "id,true,predicted,probability,probability_of_true\n"


def test_how_many_images_are_classified_is_said(tmp_path: Path, base: list[object]) -> None:
    code, out, _ = call(*base, "--images", "12", "--output", tmp_path / "out")
    assert code == 0
    assert "on 12 of 40 images" in out
    rows = table(tmp_path / "out" / "confusion.csv")
    assert [int(row["images"]) for row in rows] == [3, 3, 3, 3]


def test_unreadable_images_are_named_and_left_out(tmp_path: Path, base: list[object]) -> None:
    broken = [argument if argument != "tiny" else "tiny:broken=5" for argument in base]
    code, out, _ = call(*broken, "--output", tmp_path / "out")
    assert code == 0
    assert "on 35 of 40 images" in out
    assert "tiny-000: truncated" in out
    assert len(record(tmp_path / "out", "gallery")["skipped"]) == 5
    none = [argument if argument != "tiny" else "tiny:broken=40" for argument in base]
    assert "None of the 40 images" in refused(*none, "--output", tmp_path / "none")


def test_maps_are_for_the_predicted_and_for_the_true_class(plugin: Path, tmp_path: Path) -> None:
    data, explained = opened(plugin)
    explainer = Explainer(explained, CPU, 0)
    found = predict(explainer, data, range(40))
    chosen = select(found, data, "all", 12, 0)
    rows, shown = _rows(
        PictureJob(explainer, OutputFolder(tmp_path, "gallery", Record()), Look()),
        data,
        found,
        chosen,
    )
    assert shown == ""
    assert {row.correct for row in rows} == {True, False}
    names = ["nw", "ne", "sw", "se"]
    for i, row in zip(chosen, rows, strict=True):
        sample = data[i]
        assert row.sample_id == sample.id
        np.testing.assert_array_equal(row.image, sample.image)
        np.testing.assert_array_equal(row.mask, sample.mask)
        assert row.true[0] == names[sample.label]
        of_predicted, of_true = row.maps["tells-target"]
        assert of_predicted.max() == 1 + names.index(row.predicted[0])
        assert of_true is None if row.correct else of_true.max() == 1 + sample.label


def test_maps_are_those_of_a_run(plugin: Path, tmp_path: Path) -> None:
    arguments = {"weights": "random", "plugin": [TINY, plugin], "device": "cpu", "seed": 3}
    finished = api.run(
        dataset="tiny", model="half-right", method="saliency,random", metric="deletion", images=20, plots=False,
        output=tmp_path / "run", **arguments,
    )  # fmt: skip
    registry = discover([TINY, plugin])
    data = registry.configure("dataset", "tiny")()
    explained = load_model_and_methods(
        registry, "half-right", ["saliency,random"], data.card, Sources(weights=("random",)), seed=3
    )  # fmt: skip
    explainer = Explainer(explained, CPU, 3)
    assert len(finished.tables.examples) == 4
    for example in finished.tables.examples:
        image = torch.from_numpy(example.image)[None]
        target = explainer.probabilities(image).argmax(1)
        assert explained.classes[target] == example.predicted_class
        for method in ("saliency", "random"):
            [found] = explainer.maps(method, image, target, [example.sample_id])
            np.testing.assert_allclose(found, example.maps[method], rtol=1e-5, atol=1e-7)


def test_wrong_input_is_one_message(base: list[object], tmp_path: Path) -> None:
    output = ["--output", tmp_path / "out"]
    assert "Did you mean 'misclassified'" in refused(*base, "--only", "misclasified", *output)
    assert "--count" in refused(*base, "--count", "0", *output)
    assert "lower --images" in refused(*base, "--images", "41", *output)
    assert "Did you mean 'tiny'" in refused(*[a if a != "tiny" else "tinny" for a in base], *output)
    assert "takes no --data-root" in refused(*base, "--data-root", tmp_path, *output)
    assert "--dataset" in refused("gallery", "--model", "resnet18", "--method", "gradcam", *output)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    assert "Cannot write to" in refused(*base, "--output", tmp_path / "file" / "out")


def rows(count: int, *, correct: bool = False, name: str = "cat", methods: int = 1) -> list[Row]:
    rng = np.random.default_rng(0)
    maps = {
        f"method-{i}": (rng.normal(size=(8, 8)), None if correct else rng.random((8, 8)))
        for i in range(methods)
    }
    image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    true, predicted = (f"{name}-1", 0.1), (f"{name}-{1 if correct else 2}", 0.8)
    mask = np.eye(8, dtype=bool)
    return [Row(f"folder/{name}-{i}.png", image, mask, true, predicted, maps) for i in range(count)]


@pytest.mark.parametrize("name", ["cat", "a class with a very long name indeed", "x" * 100])
@pytest.mark.parametrize("methods", [1, 3])
def test_nothing_overlaps_on_a_page(name: str, methods: int) -> None:
    titles = (
        f"resnet18 on {name}: accuracy 83.3% on 1,000 images",
        "misclassified samples, 1 to 10 of 20 drawn",
    )
    for correct in (False, True):
        with style():
            figure = _page(
                rows(3, correct=correct, name=name, methods=methods),
                [f"method-{i}" for i in range(methods)],
                titles,
                Look(),
            )
            assert overlapping(figure) == []


def test_a_page_of_ten_samples_and_three_methods_is_printable(tmp_path: Path) -> None:
    methods = [f"method-{i}" for i in range(3)]
    draw_page(
        rows(10, name="automobile", methods=3),
        methods,
        ("title", "line"),
        Look(),
        tmp_path / "a.png",
    )
    width, height = (side / DPI for side in Image.open(tmp_path / "a.png").size)
    assert 6 < width < 8.3  # inches: A4 is 8.3 x 11.7
    assert 9 < height < 11


def test_twelve_methods_take_several_pages_of_the_same_samples(
    tmp_path: Path, base: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "ROWS", 2)
    twelve = ",".join(f"center:sigma=0.{i}" for i in range(31, 43))
    assert call(*base[:-1], twelve, "--count", "3", "--output", tmp_path / "out")[0] == 0
    pages = {p.name: Image.open(p).size for p in (tmp_path / "out").glob("gallery-*.png")}
    assert set(pages) == {
        f"gallery-{page:02d}-methods-{part}.png" for page in (1, 2) for part in (1, 2, 3, 4)
    }
    assert len({size for name, size in pages.items() if name.startswith("gallery-01")}) == 1
    assert pages["gallery-01-methods-1.png"][1] - pages["gallery-02-methods-1.png"][
        1
    ] == pytest.approx(0.85 * panels.DPI, abs=1)


def test_row_percentages() -> None:
    percentages = row_percentages(np.array([[3, 1], [0, 0]]))
    assert percentages[0].tolist() == [75, 25]
    assert np.isnan(percentages[1]).all()
    frame = confusion_table(np.array([[3, 1, 4], [0, 0, 0]]), ["=a", "b"])
    assert frame["images"].tolist() == [8, 0]
    assert frame[f"predicted: {OTHER}"].tolist() == [4, 0]
    assert frame[f"percent: {OTHER}"].tolist()[0] == 50


@pytest.mark.parametrize(
    ("classes", "annotated"), [(2, True), (20, True), (21, False), (150, False)]
)
def test_small_confusion_matrices_have_numbers_and_large_ones_colours(
    classes: int, annotated: bool
) -> None:
    counts = np.ones((classes, classes), dtype=np.int64) + 99 * np.eye(classes, dtype=np.int64)
    with style():
        figure = _confusion(
            counts, [f"a long class name {i}" for i in range(classes)], "model on data: accuracy"
        )
        texts = [text.get_text() for text in figure.axes[0].texts]
        assert texts.count("100") == (classes if annotated else 0)
        assert texts.count("1") == (classes * (classes - 1) if annotated else 0)
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert names[0] == "a long class name 0"
        assert 2 <= len(names) <= 40
        figure.draw_without_rendering()
        boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
        assert min(box.x0 for box in boxes) > 0


def test_the_same_confusion_matrix_is_the_same_bytes(tmp_path: Path) -> None:
    counts = np.arange(9).reshape(3, 3)
    for name in ("a", "b"):
        draw_confusion(counts, ["x", "y", "z"], "title", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    draw_confusion(counts.T, ["x", "y", "z"], "title", tmp_path / "c")
    assert (tmp_path / "a").read_bytes() != (tmp_path / "c").read_bytes()
