"""A plan resolves a selection completely, or says which name, parameter or file is wrong, before anything runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from interpbench import method
from interpbench.core.devices import Computing
from interpbench.core.errors import DataError, ParameterError, UnknownNameError, WeightsError
from interpbench.registry.choosing import Sources, choose_dataset
from interpbench.registry.discovery import discover
from interpbench.registry.registry import Registry
from interpbench.running.plan import Plan, make_plan
from interpbench.suite.selection import Selection
from interpbench.suite.suite import Suite

SUITE = Suite(
    name="test",
    dataset="planted:count=20",
    models=("resnet18:width=2",),
    methods=("saliency",),
    metrics=("deletion",),
    images=10,
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of two images each, without masks."""
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    return tmp_path


def plan(
    registry: Registry, *, weights: Any = ("random",), suite: Suite = SUITE, **changes: Any
) -> Plan:
    settings = {key: changes.pop(key) for key in list(changes) if key in Suite.model_fields}
    data = changes.pop("data", {})
    named = frozenset(changes.pop("named", ()))
    computing = Computing(**changes)
    return make_plan(
        Selection(suite.changed(settings), named),
        registry,
        computing,
        Sources(weights=weights, **data),
    )


def test_a_plan_holds_everything_that_will_run(registry: Registry) -> None:
    found = plan(registry, models=("resnet18:width=2,vgg11:width=2",), methods=("saliency,random",))
    assert list(found.models) == ["resnet18:width=2", "vgg11:width=2"]
    assert [(c.dataset, c.model, c.method) for c in found.cells] == [
        ("planted", "resnet18:width=2", "saliency"),
        ("planted", "resnet18:width=2", "random"),
        ("planted", "resnet18:width=2", "(ceiling) deletion"),
        ("planted", "vgg11:width=2", "saliency"),
        ("planted", "vgg11:width=2", "random"),
        ("planted", "vgg11:width=2", "(ceiling) deletion"),
    ]
    assert len(found.indices) == 10
    assert sorted(found.dataset.labels[i] for i in found.indices) == list(range(10))
    assert found.notices == ()


def test_the_batch_size_is_the_users_or_fits_the_input(registry: Registry) -> None:
    ((_, model),) = plan(registry).models.values()
    assert model.batch_size == 32  # 2^17 positions at 64 x 64
    ((_, model),) = plan(registry, batch_size=5).models.values()
    assert model.batch_size == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "plantd"}, "Unknown dataset 'plantd'. Did you mean 'planted'"),
        ({"models": ("resnt18",)}, "Unknown model 'resnt18'. Did you mean 'resnet18'"),
        ({"methods": ("salency",)}, "Unknown method 'salency'. Did you mean 'saliency'"),
        ({"metrics": ("delation",)}, "Unknown metric 'delation'. Did you mean 'deletion'"),
        (
            {"methods": ("occlusion:windw=3",)},
            "Unknown parameter of method 'occlusion': 'windw'. Did you mean 'window'",
        ),
        (
            {"dataset": "planted:cout=3"},
            "Unknown parameter of dataset 'planted': 'cout'. Did you mean 'count'",
        ),
    ],
)
def test_unknown_names_are_refused_with_near_ones(
    registry: Registry, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnknownNameError) as error:
        plan(registry, **changes)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "changes",
    [
        {"methods": ("occlusion:window=wide",)},
        {"models": ("resnet18:width=0",)},
        {"metrics": ("deletion:baseline=green",)},
        {"dataset": "planted:count=none,seed=x"},
    ],
)
def test_wrong_values_are_refused(registry: Registry, changes: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="is not valid: expected"):
        plan(registry, **changes)


@pytest.mark.parametrize("key", ["models", "methods", "metrics"])
@pytest.mark.parametrize("nothing", [(), ("",)])
def test_an_empty_choice_is_refused(registry: Registry, key: str, nothing: tuple[str, ...]) -> None:
    with pytest.raises(
        ParameterError, match=f"No {key[:-1]} is chosen. Name one with --{key[:-1]}, or `all`"
    ):
        plan(registry, **{key: nothing})


def test_all_means_every_plugin_that_needs_no_parameter(registry: Registry) -> None:
    def needy(model: Any, x: Any, target: Any, *, layer: str) -> None: ...

    more = registry.copy()
    with more.collecting():
        method("needy")(needy)
    found = plan(more, methods=("all",), metrics=("all",))
    assert list(found.methods) == [name for name in more.names("method") if name != "needy"]
    assert list(found.metrics) == more.names("metric")


def test_all_may_be_joined_by_another_configuration(registry: Registry) -> None:
    found = plan(registry, methods=("all,occlusion:window=16",))
    assert {"occlusion", "occlusion:window=16", "saliency"} <= set(found.methods)


def test_all_takes_no_parameters(registry: Registry) -> None:
    with pytest.raises(ParameterError, match="`all` takes no parameters"):
        plan(registry, methods=("all:window=16",))


def test_two_configurations_of_one_method_are_two_labels(registry: Registry) -> None:
    found = plan(
        registry,
        methods=("occlusion:window=16,occlusion:window=8", "occlusion", "occlusion:window=none"),
    )
    assert list(found.methods) == ["occlusion:window=16", "occlusion:window=8", "occlusion"]
    assert [c.values["window"] for c in found.methods.values()] == [16, 8, None]


# --- metrics


def test_metrics_that_need_masks_are_refused_when_asked_for(
    registry: Registry, folder: Path
) -> None:
    with pytest.raises(
        DataError,
        match="Metric pointing-game needs ground-truth masks, which 'photos' does not have",
    ):
        plan(
            registry,
            dataset=f"imagefolder:root={folder},name=photos",
            metrics=("deletion", "pointing-game"),
            images=2,
            named=("metric",),
        )


@pytest.mark.parametrize(
    ("metrics", "asked"), [(("deletion", "pointing-game"), False), (("all",), True)]
)
def test_metrics_that_need_masks_are_left_out_with_a_notice_otherwise(
    registry: Registry, folder: Path, metrics: tuple[str, ...], asked: bool
) -> None:
    data = f"imagefolder:root={folder},name=photos"
    found = plan(
        registry, dataset=data, metrics=metrics, images=2, named=("metric",) if asked else ()
    )
    assert "deletion" in found.metrics
    assert not any(choice.plugin.needs_mask for choice in found.metrics.values())
    [notice] = [text for text in found.notices if "ground-truth masks" in text]
    assert notice.startswith("Left out, as 'photos' has no ground-truth masks: ")
    assert "pointing-game" in notice


def test_if_no_metric_is_left_that_is_an_error(registry: Registry, folder: Path) -> None:
    with pytest.raises(DataError, match="No metric of the suite applies to 'photos'"):
        plan(
            registry,
            dataset=f"imagefolder:root={folder},name=photos",
            metrics=("pointing-game",),
            images=2,
        )


def test_steps_reach_curve_metrics_only_and_change_their_protocol(registry: Registry) -> None:
    metrics = ("deletion", "insertion:steps=5", "pointing-game")
    found, plain = plan(registry, metrics=metrics, steps=16), plan(registry, metrics=metrics)
    assert list(found.metrics) == ["deletion:steps=16", "insertion:steps=5", "pointing-game"]
    assert found.protocols["deletion:steps=16"].hash != plain.protocols["deletion"].hash
    for label in ("insertion:steps=5", "pointing-game"):
        assert found.protocols[label].hash == plain.protocols[label].hash


@pytest.mark.parametrize(
    "changes", [{"target": "label"}, {"metrics": ("deletion:baseline=black",)}]
)
def test_what_changes_a_score_changes_the_protocol(
    registry: Registry, changes: dict[str, Any]
) -> None:
    (before,), (after,) = (plan(registry, **c).protocols.values() for c in ({}, changes))
    assert before.hash != after.hash


@pytest.mark.parametrize(
    "changes", [{"seed": 1}, {"images": 3}, {"methods": ("random",)}, {"batch_size": 2}]
)
def test_what_does_not_define_a_score_does_not_change_the_protocol(
    registry: Registry, changes: dict[str, Any]
) -> None:
    assert plan(registry, **changes).protocols == plan(registry).protocols


# --- how many images


def test_a_suite_s_number_of_images_is_made_less_with_a_notice(
    registry: Registry, folder: Path
) -> None:
    found = plan(registry, dataset=f"imagefolder:root={folder},name=photos", images=30)
    assert len(found.indices) == 4
    assert (found.suite.images, found.changed) == (4, True)  # what is compared is what was run
    assert found.notices[-1] == (
        "Data set 'photos' holds 4 images: all are taken instead of the usual 30."
    )
    assert plan(registry, images=20).notices == ()


def test_a_number_of_images_that_the_user_names_is_refused(
    registry: Registry, folder: Path
) -> None:
    data = f"imagefolder:root={folder},name=photos"
    asked = Selection.of(SUITE.changed({"images": 3}), {"images": 30, "dataset": data})
    assert "images" in asked.named
    with pytest.raises(
        DataError, match="'photos' holds 4 images, 30 are asked for: lower --images"
    ):
        make_plan(asked, registry, sources=Sources(weights=("random",)))


# --- weights


def weights_of(found: Plan) -> dict[str, str]:
    return {label: model.card.weights for label, (_, model) in found.models.items()}


def save(registry: Registry, folder: Path, name: str) -> Path:
    """Weights of a model at its narrowest, for ten classes at 64 pixels."""
    path = folder / f"{name}.pt"
    torch.save(registry.configure("model", name, {"width": 2})(10, 64).state_dict(), path)
    return path


def test_one_file_serves_the_one_model(registry: Registry, tmp_path: Path) -> None:
    path = save(registry, tmp_path, "resnet18")
    assert weights_of(plan(registry, weights=(str(path),))) == {"resnet18:width=2": "resnet18.pt"}


def test_each_model_may_have_its_own_file(registry: Registry, tmp_path: Path) -> None:
    files = {name: save(registry, tmp_path, name) for name in ("vgg11", "alexnet")}
    found = plan(
        registry,
        models=tuple(f"{name}:width=2" for name in files),
        weights=[f"{name}:width=2={file}" for name, file in files.items()],
    )
    assert weights_of(found) == {"vgg11:width=2": "vgg11.pt", "alexnet:width=2": "alexnet.pt"}


def test_random_serves_every_model_or_the_one_named(registry: Registry, tmp_path: Path) -> None:
    path = save(registry, tmp_path, "vgg11")
    models = ("vgg11:width=2", "alexnet:width=2")
    assert set(weights_of(plan(registry, models=models)).values()) == {"random"}
    mixed = plan(
        registry, models=models, weights=(f"vgg11:width=2={path}", "alexnet:width=2=random")
    )
    assert weights_of(mixed) == {"vgg11:width=2": "vgg11.pt", "alexnet:width=2": "random"}


def test_a_path_with_an_equals_sign_is_a_path(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "lr=3").mkdir()
    path = save(registry, tmp_path / "lr=3", "resnet18")
    assert weights_of(plan(registry, weights=(str(path),))) == {"resnet18:width=2": "resnet18.pt"}


def test_one_file_for_several_models_is_refused(registry: Registry) -> None:
    with pytest.raises(
        WeightsError, match=r"2 models are chosen: say which the weights are for, MODEL=w\.pt"
    ):
        plan(registry, models=("vgg11", "alexnet"), weights=("w.pt",))


def test_weights_for_a_model_that_is_not_chosen_are_refused(registry: Registry) -> None:
    with pytest.raises(UnknownNameError, match=r"model in --weights: 'vgg1'.*Did you mean 'vgg11'"):
        plan(registry, models=("vgg11",), weights=("vgg1=w.pt",))


def test_two_weights_for_one_model_are_refused(registry: Registry) -> None:
    with pytest.raises(WeightsError, match=r"Model 'vgg11' is given two weights, random and w\.pt"):
        plan(registry, models=("vgg11",), weights=("random", "vgg11=w.pt"))


def test_without_weights_the_model_is_named(registry: Registry) -> None:
    with pytest.raises(
        WeightsError,
        match="There are no weights for model 'resnet18:width=2' on data set 'planted'",
    ):
        plan(registry, weights=())


# --- data


def test_data_root_reaches_the_data_set(registry: Registry, folder: Path) -> None:
    found = plan(registry, dataset="imagefolder", data={"root": str(folder)}, images=4)
    assert list(found.dataset.ids) == ["a/1.png", "a/2.png", "b/1.png", "b/2.png"]


def test_flags_win_over_what_the_suite_says_of_the_data(registry: Registry) -> None:
    assert choose_dataset(registry, "cifar10:root=a,split=train", Sources(root="b")).values[
        "root"
    ] == Path("b")
    assert choose_dataset(registry, "cifar10:root=a").values["root"] == Path("a")


@pytest.mark.parametrize(("flag", "name"), [("root", "data-root"), ("download", "download")])
def test_flags_that_a_data_set_does_not_take_are_refused(
    registry: Registry, flag: str, name: str
) -> None:
    with pytest.raises(ParameterError, match=f"Data set 'planted' takes no --{name}"):
        plan(registry, data={flag: "x"})


def test_a_folder_whose_name_holds_a_comma_is_quoted(registry: Registry) -> None:
    found = choose_dataset(registry, 'imagefolder:root="a,b",split=test')
    assert (found.values["root"], found.values["split"]) == (Path("a,b"), "test")
    assert choose_dataset(registry, found.label).values == found.values
    with pytest.raises(ParameterError, match=r'quotes: NAME:PARAMETER="a,b"'):
        choose_dataset(registry, "imagefolder:root=a,b")


@pytest.mark.parametrize(("text", "count"), [("planted,cifar10", 2), ("", 0)])
def test_a_run_has_one_data_set(registry: Registry, text: str, count: int) -> None:
    with pytest.raises(ParameterError, match=f"A run has one data set, not {count}"):
        choose_dataset(registry, text)


def test_more_images_than_there_are_is_an_error(registry: Registry) -> None:
    with pytest.raises(DataError, match="'planted' holds 20 images, 21 are asked for"):
        plan(registry, images=21, named=("images",))
