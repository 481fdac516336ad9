"""Metrics equal the implementations of other libraries; one that does not is found, and what is wrong is said."""

import dataclasses
import math
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from matplotlib import image

from interpbench import api
from interpbench.core.errors import ParameterError, PluginError
from interpbench.files.csv_files import read_csv
from interpbench.registry.discovery import discover
from interpbench.registry.registry import Registry, metric_reference
from interpbench.studies.conformance import tables
from interpbench.studies.conformance.comparing import compare, libraries
from interpbench.studies.conformance.metrics import MetricCase, cases_on, deviation_of_scores
from interpbench.studies.conformance.models_on_noise import build_linear_on_noise
from tests.command_line import call

REGISTRY = discover()
REFERENCES = {reference.name: reference for reference in REGISTRY.plugins("metric-reference")}
MAPS = ("gradient-x-input", "ties", "random")
needs_quantus = pytest.mark.skipif(
    find_spec("quantus") is None, reason="Quantus is in the extra `bench`, not in `test`"
)
# Those that are known to be wrong or another thing, on all maps; no others, lest a reference that breaks pass for one.
DIFFERENT = {
    "attribution-localisation.quantus.weighted", "average-drop.grad-cam.as-it-is", "completeness.quantus",
    "continuity.quantus", "effective-complexity.quantus.beside-a-loud-map", "infidelity.quantus",
    "infidelity.quantus.squares-that-do-not-fit", "irof.quantus.as-it-is", "lipschitz.quantus.normalised",
    "monotonicity-correlation.quantus.a-probability-of-0", "monotonicity.quantus",
    "pixel-flipping.quantus.its-own-sort", "pointing-game.quantus.an-empty-mask", "pointing-game.quantus.weighted",
    "region-perturbation.quantus.the-better-way", "relative-input-stability.quantus.changed-classes",
    "relevance-mass.quantus.signed", "road.quantus.as-it-is", "road.quantus.batches", "sensitivity-n.quantus",
    "sufficiency.quantus",
}  # fmt: skip
FAILING = {  # what Quantus raises
    "infidelity.quantus.squares-that-do-not-fit": "ValueError",
    "irof.quantus.as-it-is": "AssertionError",
    "monotonicity-correlation.quantus.a-probability-of-0": "ValueError",
    "pointing-game.quantus.weighted": "TypeError",
    "road.quantus.as-it-is": "IndexError",
}
# Those that follow an order, of which the libraries have another where values are equal, or divide by values of 0.
NOT_WITH_TIES = {
    "deletion.quantus", "deletion.rise", "faithfulness-estimate-of-values.quantus", "faithfulness-estimate.quantus",
    "insertion.rise", "irof.quantus", "monotonicity-correlation-of-values.quantus",
    "monotonicity-correlation.quantus", "monotonicity.quantus.mended", "pixel-flipping.quantus",
    "pointing-game.quantus", "region-perturbation.quantus", "relative-input-stability.quantus",
    "relative-output-stability.quantus", "relative-representation-stability.quantus", "relevance-rank.quantus",
    "road-by-percentiles.grad-cam", "road.grad-cam", "road.quantus", "selectivity.quantus", "top-k.quantus",
}  # fmt: skip


@cache
def case(maps: str, registry: Registry = REGISTRY, images: int = 2) -> MetricCase:
    found = {
        each.columns["maps"]: each for each in cases_on(registry, build_linear_on_noise(images))
    }
    return found[maps]


@pytest.mark.parametrize("maps", MAPS)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=needs_quantus if ".quantus" in n else ()) for n in REFERENCES]
)
def test_a_metric_equals_its_reference(name: str, maps: str) -> None:
    [row] = compare([REFERENCES[name]], case(maps)).itertuples()
    assert row.status != "differs", f"{row.deviation:.1e} > {row.tolerance:.0e}"
    expected = name in DIFFERENT or (maps == "ties" and name in NOT_WITH_TIES)
    assert (row.status == "not comparable") == expected, row.why
    assert "failed" not in row.why
    assert math.isnan(row.deviation) == (name in FAILING), row.why
    if name in FAILING:
        assert row.why.startswith(f"quantus fails ({FAILING[name]}): Quantus ")


@needs_quantus
@pytest.mark.parametrize("name", sorted(DIFFERENT - set(FAILING)))
def test_what_is_wrong_in_a_library_shows(name: str) -> None:
    deviations = [
        compare([REFERENCES[name]], case(maps, images=3))["deviation"][0] for maps in MAPS
    ]
    assert max(deviations) > 0.01


def test_a_reference_says_what_it_is_and_where_it_differs() -> None:
    assert {"RISE", "captum", "grad-cam", "quantus"} == {
        library.name for library in libraries([*REFERENCES.values()])
    }
    assert {reference.ours for reference in REFERENCES.values()} <= set(REGISTRY.names("metric"))
    for reference in REFERENCES.values():
        assert reference.doc
        assert reference.why or reference.tolerance is not None, reference.name
    assert {
        name for name, reference in REFERENCES.items() if reference.tolerance is None
    } == DIFFERENT


def test_a_metric_that_is_wrong_by_a_little_differs() -> None:
    reference = REFERENCES["average-drop.grad-cam"]
    plugin = REGISTRY.get("metric", "average-drop")
    for change, status in ((reference.tolerance / 3, "ok"), (3 * reference.tolerance, "differs")):
        registry = REGISTRY.copy()
        registry._plugins["metric"]["average-drop"] = dataclasses.replace(
            plugin, call=lambda e, change=change, **named: plugin.call(e, **named) + change
        )
        [row] = compare([reference], case("random", registry)).itertuples()
        assert row.status == status
        assert row.deviation == pytest.approx(change, rel=0.1)


def test_a_deviation_is_a_share_of_what_scores_can_be() -> None:
    ours, theirs = torch.tensor([0.5, 3.0, math.nan]), torch.tensor([0.0, 4.0, math.nan])
    assert deviation_of_scores(ours, theirs, (-5.0, 5.0)) == pytest.approx(0.1)
    assert deviation_of_scores(ours, theirs, (0.0, math.inf)) == pytest.approx(0.25)
    assert deviation_of_scores(theirs, theirs, (0.0, math.inf)) == 0
    assert deviation_of_scores(ours[:1], theirs[:1], (0.0, math.inf)) == math.inf
    assert deviation_of_scores(ours.nan_to_num(), theirs, (0.0, 1.0)) == math.inf
    with pytest.raises(ValueError, match=r"it gives \[3\] scores, the reference \[1\]"):
        deviation_of_scores(ours, theirs[:1], (0.0, 1.0))


def test_the_cases_are_the_same_each_time_and_as_they_are_said_to_be() -> None:
    first = {each.columns["maps"]: each for each in cases_on(REGISTRY, build_linear_on_noise(2))}
    for maps, each in first.items():
        assert torch.equal(each._explanation.saliency, case(maps)._explanation.saliency)
    exact, tied = (first[maps]._explanation for maps in MAPS[:2])
    before = exact.model(exact.x) - exact.model(torch.zeros_like(exact.x))
    assert torch.allclose(
        exact.saliency.double().sum((1, 2)),
        before.gather(1, exact.target[:, None])[:, 0],
        rtol=1e-4,
    )
    assert len(tied.saliency.unique()) <= 5
    assert 0.3 < float((tied.saliency == 0).float().mean()) < 0.95


def test_a_reference_must_have_a_metric_s_signature() -> None:
    with (
        Registry().collecting(),
        pytest.raises(PluginError, match=r"signature \(explanation, \*, parameter=default\)"),
    ):

        @metric_reference("deletion", library="numpy", tolerance=0.1)
        def wrong(model: object, x: object) -> None: ...


MINE = '''
from interpbench import metric, metric_reference

@metric("mine", better="higher", range=(0.0, float("inf")))
def mine(explanation, *, power: float = 1.0):
    """The map's greatest value."""
    return explanation.saliency.abs().amax((1, 2)) ** power

@metric_reference("mine", library="captum", variant="of cubes", tolerance=1e-6, why="They say it is {factor} times.")
def theirs(explanation, *, power: float = 3.0):
    """By hand."""
    return {factor} * explanation.saliency.abs().amax((1, 2)).double() ** power
'''


@pytest.mark.parametrize(("factor", "code"), [(1, 0), (1.001, 1)])
def test_the_command_writes_a_table_and_a_picture(tmp_path: Path, factor: float, code: int) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE.replace("{factor}", str(factor)))
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        found, out, errors = call(
            "conformance", "--plugin", str(file), "--metric", "mine,average-increase", "--model", "alexnet:width=8",
            "--images", "2", "--output", str(folder),
        )  # fmt: skip
        assert found == code, errors
    assert (
        "differs: mine:power=3.0, of cubes from captum on alexnet:width=8, " in errors + out
    ) == bool(code)
    first, second = ((folder / "deviations.csv").read_bytes() for folder in folders)
    assert first == second
    columns = dict.fromkeys(
        ("metric", "library", "library_version", "model", "maps", "status", "why"), "str"
    )
    columns |= {"images": "int64", "deviation": "float64", "tolerance": "float64"}
    rows = read_csv(folders[0] / "deviations.csv", columns)
    assert rows[["metric", "maps"]].to_numpy().tolist() == [
        *(["average-increase", maps] for maps in MAPS), *(["mine:power=3.0, of cubes", maps] for maps in MAPS)
    ]  # fmt: skip
    assert set(rows["status"][3:]) == {["ok", "differs"][code]}
    assert image.imread(folders[0] / "deviations.png").shape[0] > 100
    assert (
        "compared with captum (By hand), within 1e-06."
        in call("show", "mine", "--plugin", str(file))[1]
    )


def test_methods_and_metrics_are_compared_one_at_a_time(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="Methods or metrics are compared, one at a time"):
        api.conformance(method="saliency", metrics=True, output=tmp_path / "out")
    with pytest.raises(
        ParameterError,
        match=r"No library's implementation is declared for 'saco'. Metrics that have",
    ):
        api.conformance(metric="saco", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_table_has_a_column_for_each_kind_of_maps() -> None:
    rows = compare([REFERENCES["average-increase.grad-cam"]], case("random"))
    assert list(tables.as_lines(rows)) == ["average-increase: grad-cam 0"]
    assert [column.header for column in tables.as_table(rows).columns][2:] == [
        tables.Text("random"), "tolerance"
    ]  # fmt: skip
