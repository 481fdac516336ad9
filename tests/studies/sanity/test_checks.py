"""The checks on models and methods whose answers are known, the verdicts, and the command as a user runs it."""

import csv
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from interpbench.attribution.explainer import Explainer
from interpbench.attribution.model_and_methods import load_model_and_methods
from interpbench.core.errors import ParameterError
from interpbench.core.seeding import derive
from interpbench.core.types import normalise
from interpbench.loading.images import ImageSet, choose, load_images
from interpbench.registry.choosing import Sources
from interpbench.registry.discovery import discover
from interpbench.registry.registry import Registry
from interpbench.results.statistics import bootstrap_interval
from interpbench.studies.chosen_tests import choose_tests
from interpbench.studies.sanity.checks import TESTS, Checks, other_classes, smoothed
from interpbench.studies.sanity.comparing import COLUMNS
from interpbench.studies.sanity.plots import _bars, _layers
from interpbench.studies.sanity.verdict import THRESHOLD, verdicts
from interpbench.toolbox.randomise import Randomiser
from tests.command_line import call, refused
from tests.paths import TINY
from tests.picture_commands import CPU, content, overlapping, record
from tests.tiny_models import wrap

PLUGIN = Path(__file__).parent / "plugin.py"
BASE = [
    "sanity", "--dataset", "tiny", "--model", "small", "--weights", "random", "--device", "cpu", "--images", "6",
    "--plugin", TINY, "--plugin", PLUGIN,
]  # fmt: skip


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover([TINY, PLUGIN])


def opened(
    registry: Registry, *methods: str, model: str = "small", count: int = 6
) -> tuple[Explainer, ImageSet]:
    data = registry.configure("dataset", "tiny", {})()
    explained = load_model_and_methods(
        registry, model, methods, data.card, Sources(weights=("random",))
    )
    return Explainer(explained, CPU, 0), load_images(
        data, choose(data, count, 0), explained.model.card.preparation
    )


def run(
    registry: Registry, *methods: str, tests: tuple[str, ...] = TESTS, model: str = "small"
) -> pd.DataFrame:
    explainer, images = opened(registry, *methods, model=model)
    return Checks(explainer, images, "tiny", tests, samples=3).run()


def test_a_method_that_ignores_the_model_gives_exactly_equal_maps(registry: Registry) -> None:
    table = run(registry, "edges", "sobel", "random")
    for method, rows in table.groupby("method"):
        similar = rows[rows["measure"].isin(["spearman", "ssim"])]
        assert (similar[["mean", "low", "high"]] == 1).all(axis=None), method
        assert (similar["sd"] == 0).all()
        assert set(similar["test"]) == {
            "cascading",
            "independent",
            "complete",
            "smooth",
            "random-logit",
        }
        assert (rows[rows["measure"] == "entropy-rise"]["mean"] == 0).all()
        assert (rows["images"] == 6).all()
    assert set(verdicts(table)["model"]) == set(verdicts(table)["class"]) == {"INSENSITIVE"}


def test_a_method_that_ignores_the_class_gives_the_same_map_for_another(registry: Registry) -> None:
    table = run(registry, "every-class", "slope", "ramp", tests=("random-logit",))
    found = table[table["map"] == "absolute"].pivot_table(
        index="method", columns="measure", values="mean"
    )
    assert found.loc["every-class"].tolist() == [1, 1]
    assert found.loc["slope", "spearman"] < 0.9
    odd = verdicts(table).set_index("method")
    assert odd.loc["every-class", "class"] == "INSENSITIVE"
    assert (odd["model"] == "unknown").all()


def test_the_map_of_another_class_is_compared(registry: Registry) -> None:
    """The ramp of an odd class is that of an even one upside down: its rank correlation is 1 or -1."""
    explainer, images = opened(registry, "ramp")
    target = explainer.probabilities(images.images).argmax(1)
    other = other_classes(target, images.ids, 4, 0)
    expected = np.where((target + other).numpy() % 2 == 1, -1.0, 1.0)
    assert set(expected) == {-1, 1}
    table = Checks(explainer, images, "tiny", ("random-logit",)).run()
    [row] = table[table["measure"] == "spearman"].to_dict("records")
    assert row["mean"] == pytest.approx(expected.mean())
    assert row["sd"] == pytest.approx(expected.std(ddof=1))
    seed = derive(0, "tiny", "small", "ramp", "random-logit", "", 0, "", "absolute", "spearman")
    low, high = bootstrap_interval(expected, seed=seed)
    assert (row["low"], row["high"]) == (max(low, -1), min(high, 1))


def test_another_class_is_any_but_the_target() -> None:
    ids = [f"image-{i}" for i in range(3000)]
    target = torch.arange(3000) % 5
    other = other_classes(target, ids, 5, 0)
    assert not (other == target).any()
    counts = torch.zeros(5, 5).index_put((target, other), torch.ones(3000), accumulate=True)
    assert ((counts > 100) | torch.eye(5).bool()).all()  # 150 each
    assert torch.equal(
        other[7:9], other_classes(target[7:9], ids[7:9], 5, 0)
    )  # whatever the others are
    assert not torch.equal(other, other_classes(target, ids, 5, 1))


def test_maps_of_a_linear_model_are_compared_as_scipy_does(registry: Registry) -> None:
    """The gradient is a weight: that of the model before, and that drawn with the layer's seed after."""
    explainer, images = opened(registry, "slope", model="line")
    target = explainer.probabilities(images.images).argmax(1)
    table = Checks(explainer, images, "tiny", ("cascading", "independent")).run()
    layer = torch.nn.Linear(768, 4)
    torch.manual_seed(derive(0, "sanity", "1"))
    layer.reset_parameters()
    weights = [
        w.detach().unflatten(1, (3, 256)).sum(1)
        for w in (explainer.model.network[1].weight, layer.weight)
    ]
    for kind, change in (("absolute", torch.abs), ("signed", lambda w: w)):
        before, after = (change(w) for w in weights)
        expected = [spearmanr(before[k], after[k]).statistic for k in target.tolist()]
        rows = table[(table["map"] == kind) & (table["measure"] == "spearman")]
        assert rows["test"].tolist() == ["cascading", "independent"]
        assert rows["layer"].tolist() == ["1", "1"]
        assert rows["mean"].tolist() == pytest.approx([np.mean(expected)] * 2, abs=1e-6)
        assert rows["sd"].tolist() == pytest.approx([np.std(expected, ddof=1)] * 2, abs=1e-6)


def test_the_first_step_of_the_cascade_is_the_first_layer_alone(registry: Registry) -> None:
    table = run(registry, "slope", tests=("cascading", "independent"))
    first = table[table["layer_index"] == 1].groupby("test")["mean"].apply(list)
    assert first["cascading"] == first["independent"]
    assert table[table["test"] == "cascading"]["layer"].unique().tolist() == [
        "8",
        "7",
        "3",
        "1",
        "0",
    ]


def test_the_smooth_test_compares_means_over_noise(registry: Registry) -> None:
    explainer, images = opened(registry, "slope")
    x = normalise(images.images, explainer.model.card.preparation)
    target = explainer.probabilities(images.images).argmax(1)
    method = smoothed(explainer.explained.methods["slope"], 4)
    generators = [torch.Generator().manual_seed(i) for i in range(6)]
    found = method(explainer.model, x.clone(), target, generators=generators)
    for i in range(6):
        noise = torch.Generator().manual_seed(i)
        deviation = 0.1 * float(x[i].max() - x[i].min())
        maps = []
        for _ in range(4):
            leaf = (x[i] + deviation * torch.randn(x[i].shape, generator=noise)).requires_grad_()
            explainer.model(leaf[None])[0, target[i]].backward()
            maps.append(leaf.grad.sum(0))
        torch.testing.assert_close(found[i], sum(maps) / 4)


def test_the_efficient_test_compares_the_fully_randomised_model(registry: Registry) -> None:
    explainer, images = opened(registry, "slope")
    table = Checks(explainer, images, "tiny", ("efficient",)).run().set_index("measure")
    target = explainer.probabilities(images.images).argmax(1)
    x = normalise(images.images, explainer.model.card.preparation)
    [complete] = Randomiser(explainer.model, x, 0).complete()
    entropies = []
    for model in (explainer.model, complete.model):
        maps = (
            explainer.explained.methods["slope"](model, x.clone(), target)
            .numpy()
            .astype(np.float64)
        )
        shares = [np.histogram(m, 100)[0] / m.size for m in maps]
        entropies.append(np.array([-sum(p * math.log(p) for p in share if p) for share in shares]))
    assert table.loc["entropy-trained", "mean"] == pytest.approx(entropies[0].mean(), rel=1e-6)
    assert table.loc["entropy-randomised", "mean"] == pytest.approx(entropies[1].mean(), rel=1e-6)
    assert table.loc["entropy-rise", "mean"] == pytest.approx(
        ((entropies[1] - entropies[0]) / entropies[0]).mean(), rel=1e-5
    )
    assert (table["layer"] == "(all)").all()


def test_a_method_that_fails_is_a_row_with_its_reason_and_others_go_on(registry: Registry) -> None:
    table = run(
        registry, "raises", "edges", "constant", "knows-one", tests=("cascading", "random-logit")
    )
    assert list(table.columns) == COLUMNS
    [row] = table[table["method"] == "raises"].to_dict("records")
    assert (row["test"], row["status"]) == ("trained", "failed")
    assert re.fullmatch(
        r"RuntimeError: this method is \[red\]broken\[/\] \(tiny\.py:\d+\)", row["reason"]
    )
    [row] = table[table["method"] == "constant"].to_dict("records")
    assert (row["status"], row["reason"]) == (
        "failed",
        "gives the trained model constant maps, which cannot be compared",
    )
    late = table[table["method"] == "knows-one"]
    assert (late[late["test"] == "random-logit"]["status"] == "ok").all()
    failed = late[late["test"] == "cascading"]
    assert (
        failed["reason"].str.startswith("RuntimeError: never saw this model").tolist() == [True] * 5
    )
    assert failed["layer_index"].tolist() == [1, 2, 3, 4, 5]
    assert (table[table["method"] == "edges"]["status"] == "ok").all()


def test_dead_logits_are_marked_on_every_row_they_concern(registry: Registry) -> None:
    explainer, images = opened(registry, "slope", "edges", model="small:odd=0")
    checks = Checks(explainer, images, "tiny", ("independent",))
    table = checks.run()
    dead = table[table["logits"] == "logits dead"]
    assert set(dead["layer"]) == {"7"}
    assert set(dead["method"]) == {"slope", "edges"}
    assert (dead[dead["method"] == "slope"]["status"] == "undefined").all()
    assert (dead[dead["method"] == "slope"]["left_out"] == 6).all()
    assert (dead[dead["method"] == "edges"]["mean"] == 1).all()
    assert [copy["layer"] for copy in checks.copies if copy["logits"]] == ["7"]


def board(width: float = 0.0, **tests: list[float]) -> pd.DataFrame:
    """A table with these rank correlations, and intervals of that width to both sides."""
    kinds = [("absolute", "spearman"), ("absolute", "ssim"), ("signed", "spearman")]
    rows = [
        {
            "method": "m",
            "test": test.replace("_", "-"),
            "layer_index": i,
            "map": kind,
            "measure": measure,
            "mean": mean,
        }
        for test, means in tests.items()
        for i, value in enumerate(means)
        for (kind, measure), mean in zip(kinds, (value, 0.0, 0.0), strict=True)
    ]
    table = pd.DataFrame(rows).assign(status="ok", reason="")
    return table.assign(low=table["mean"] - width, high=table["mean"] + width)


def test_the_verdict_is_about_the_upper_half_of_the_cascade() -> None:
    above, below = THRESHOLD + 0.01, THRESHOLD - 0.01
    [row] = verdicts(
        board(cascading=[above, above, 0, 0], independent=[0], random_logit=[below])
    ).to_dict("records")
    assert (row["model"], row["class"], row["signed"]) == ("INSENSITIVE", "sensitive", True)
    assert (row["upper_half"], row["all_layers"]) == (pytest.approx(above), 0)
    [row] = verdicts(board(cascading=[below, below, 1, 1], independent=[1])).to_dict("records")
    assert (row["model"], row["class"]) == ("sensitive", "unknown")
    [row] = verdicts(board(cascading=[1, 1, 0, 0, 0])).to_dict("records")  # three layers of five
    assert (row["model"], row["upper_half"]) == ("sensitive", pytest.approx(2 / 3))


def test_the_complete_copy_decides_where_there_is_no_cascade() -> None:
    above, below = THRESHOLD + 0.01, THRESHOLD - 0.01
    for value, expected in ((above, "INSENSITIVE"), (below, "sensitive")):
        [row] = verdicts(board(complete=[value], random_logit=[below])).to_dict("records")
        assert (row["model"], row["all_layers"]) == (expected, pytest.approx(value))
    [row] = verdicts(board(cascading=[below, 0.3], complete=[above])).to_dict("records")
    assert (row["model"], row["all_layers"]) == ("sensitive", 0.3)


def test_the_complete_copy_is_the_end_of_the_cascade(registry: Registry) -> None:
    table = run(registry, "slope", "edges", tests=("cascading", "complete"))
    columns = ["method", "map", "measure", "mean", "sd", "images"]
    ends = table[(table["test"] == "cascading") & (table["layer_index"] == 5)]
    complete = table[table["test"] == "complete"]
    pd.testing.assert_frame_equal(
        ends[columns].reset_index(drop=True), complete[columns].reset_index(drop=True)
    )


def test_a_verdict_needs_an_interval_on_one_side_of_the_threshold() -> None:
    above, below = [THRESHOLD + 0.01], [THRESHOLD - 0.01]
    for width, expected in (
        (0.009, ["INSENSITIVE", "sensitive"]),
        (0.011, ["undecided", "undecided"]),
    ):
        [row] = verdicts(board(width, cascading=above, random_logit=below)).to_dict("records")
        assert [row["model"], row["class"]] == expected


def test_tests_are_named_as_methods_are() -> None:
    assert choose_tests(["random-logit, cascading"], TESTS) == ("cascading", "random-logit")
    assert choose_tests(["smooth", "all"], TESTS) == TESTS


def test_as_a_user_runs_it(tmp_path: Path) -> None:
    asked = [*BASE, "--method", "slope,edges,gradcam", "--test", "all", "--samples", "2"]
    code, out, error = call(*asked, "--output", tmp_path / "one")
    assert code == 0, error
    with (tmp_path / "one" / "sanity.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    keys = [(r["method"], r["test"], int(r["layer_index"]), r["map"], r["measure"]) for r in rows]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert {r["map"] for r in rows if r["method"] == "slope"} == {"absolute", "signed", "as given"}
    assert {r["map"] for r in rows if r["method"] == "gradcam"} == {"absolute", "as given"}
    [line] = [line.split() for line in out.splitlines() if line.strip().startswith("edges")]
    assert line == ["edges", "1.00", "1.00", "1.00", "+0.0%", "1.00", "INSENSITIVE", "INSENSITIVE"]
    assert "is compared with 0.71" in out
    shown = record(tmp_path / "one", "sanity")
    assert shown["seed"] == 0
    assert shown["model"]["weights"] == "random"
    assert set(shown["methods"]) == {"slope", "edges", "gradcam"}
    assert len(shown["copies"]) == 5 + 5 + 1 + 1 + 1
    assert {"torch", "scipy", "scikit-image"} <= set(shown["versions"])
    assert len(shown["sample_ids"]) == 6
    pictures = {
        "layers-absolute.png",
        "layers-signed.png",
        "random-logit.png",
        "complete.png",
        "efficient.png",
        "smooth.png",
    }
    assert set(shown["files"]) == {"sanity.csv", "verdicts.csv", *pictures}
    first, written = content(tmp_path / "one"), (tmp_path / "one" / "sanity.csv").stat().st_mtime_ns
    assert call(*asked, "--output", tmp_path / "one", "--overwrite")[0] == 0
    second = content(tmp_path / "one")
    assert {n: b for n, b in first.items() if n != "sanity.json"} == {
        n: b for n, b in second.items() if n != "sanity.json"
    }
    assert (tmp_path / "one" / "sanity.csv").stat().st_mtime_ns > written


def test_a_failing_method_makes_exit_code_1(tmp_path: Path) -> None:
    code, out, _ = call(
        *BASE, "--method", "raises", "--test", "cascading", "--output", tmp_path / "out"
    )
    assert code == 1
    assert "raises: RuntimeError: this method is [red]broken[/]" in out
    assert set(content(tmp_path / "out")) == {"sanity.csv", "verdicts.csv", "sanity.json"}


def test_wrong_input_is_refused(tmp_path: Path) -> None:
    ask = [*BASE, "--output", tmp_path / "out"]
    assert "Did you mean 'cascading'" in refused(*ask, "--method", "edges", "--test", "casading")
    assert "Did you mean 'gradcam'" in refused(*ask, "--method", "gradcan")
    assert "2" in refused(*ask, "--method", "edges", "--images", "1")
    assert "lower --images" in refused(*ask, "--method", "edges", "--images", "99")
    assert "one model at a time" in refused(*ask, "--method", "edges", "--model", "small,rigid")
    assert "no layer that can be initialised" in refused(
        *ask, "--method", "edges", "--model", "rigid"
    )
    assert call(*ask, "--method", "edges", "--model", "rigid", "--test", "random-logit")[0] == 0
    assert "--overwrite" in refused(*ask, "--method", "edges", "--test", "random-logit")


def test_texts_of_pictures_do_not_cover_each_other(registry: Registry) -> None:
    table = run(registry, "slope", "edges")
    for figure in (
        _layers(table, "absolute", "small on tiny"),
        _layers(table, "signed", "small on tiny"),
    ):
        assert not overlapping(figure)
    for test in ("random-logit", "smooth", "efficient"):
        assert not overlapping(_bars(table, test, "small on tiny, 6 images"))


def upper_half(model: str, methods: str, folder: Path) -> dict[str, str]:
    """label -> verdict on a shipped model."""
    asked = ["--model", model, "--method", methods, "--test", "cascading", "--device", "cpu"]
    code, _, error = call("sanity", *asked, "--images", "8", "--output", folder)
    assert code == 0, error
    return dict(pd.read_csv(folder / "verdicts.csv").set_index("method")["model"])


@pytest.mark.parametrize(
    "model",
    [
        "alexnet",
        pytest.param("vgg11_bn", marks=pytest.mark.slow),
        pytest.param("resnet18", marks=pytest.mark.slow),
    ],
)
def test_guided_backprop_is_insensitive_to_upper_layers_and_gradcam_is_not(
    model: str, tmp_path: Path
) -> None:
    """As Adebayo et al. found."""
    found = upper_half(model, "gradcam,guided-backprop", tmp_path / "out")
    assert found == {"gradcam": "sensitive", "guided-backprop": "INSENSITIVE"}


def test_a_model_of_one_class_has_no_other() -> None:
    model = wrap(torch.nn.Flatten(), classes=1)
    with pytest.raises(ParameterError, match="second class"):
        other_classes(torch.zeros(3, dtype=torch.int64), ["a", "b", "c"], model.card.classes, 0)
