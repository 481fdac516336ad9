"""Runs of what is in memory: equal to those of files, and the user's own things stay as they are."""

import copy
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import interpbench
from interpbench.core.errors import (
    DataError,
    DuplicatePluginError,
    InterpBenchError,
    SubmissionError,
    WeightsError,
)
from interpbench.publish.publishing import publish
from tests.in_memory import (
    BYTES,
    KEYWORDS,
    LABELS,
    MEAN,
    QUICK,
    SOURCE,
    STD,
    Net,
    gradient,
    network,
)


def folder_of_images(folder: Path) -> Path:
    """The images as PNG, in a folder for each class."""
    for number, (image, label) in enumerate(zip(BYTES, LABELS, strict=True)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / str(label) / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> interpbench.Run:
    """The same run by files and flags."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "net.py").write_text(SOURCE)
    return interpbench.run(
        model=f"{folder / 'net.py'}:build", dataset=f"imagefolder:{folder_of_images(folder / 'photos')}",
        method="saliency,gradient-x-input", output=folder / "run", size=(10, 12), resize=0, images=4, **QUICK,
    )  # fmt: skip


def values(run: interpbench.Run, method: str) -> list[float]:
    scores = run.scores
    return list(scores[scores["method"] == method]["value"])


@pytest.mark.parametrize("how", ["bytes", "pixels", "dataset", "pairs", "ours"])
def test_a_run_in_memory_equals_that_of_files_to_the_bit(
    how: str, files: interpbench.Run, tmp_path: Path
) -> None:
    images: dict[str, Any] = {
        "bytes": {"images": BYTES, "labels": LABELS},
        "pixels": {"images": (BYTES.float() / 255).numpy(), "labels": torch.tensor(LABELS)},
        "dataset": {"dataset": torch.utils.data.TensorDataset(BYTES, torch.tensor(LABELS))},
        "pairs": {"images": [(image, label) for image, label in zip(BYTES, LABELS, strict=True)]},
        "ours": {"dataset": (BYTES, LABELS)},
    }[how]  # fmt: skip
    run = interpbench.run(
        model=network(), method=["saliency", gradient], output=tmp_path / "run", **images, **QUICK
    )
    assert len(run.scores) == 8
    assert values(run, "saliency") == values(files, "saliency")
    assert values(run, "gradient") == values(files, "saliency")
    ours, theirs = (next(iter(r.tables.models.values())) for r in (run, files))
    assert (ours.accuracy, ours.accuracy_images) == (theirs.accuracy, 4)
    assert ours.card.weights_sha256 == theirs.card.weights_sha256
    if how == "bytes":
        assert ours.pixels_sha256 == theirs.pixels_sha256


def test_normalised_tensors_give_the_scores_of_their_pixels(
    files: interpbench.Run, tmp_path: Path
) -> None:
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    run = interpbench.run(
        model=network(), method="saliency", images=(BYTES / 255 - mean) / std, labels=LABELS, output=tmp_path / "run",
        **QUICK,
    )  # fmt: skip
    assert values(run, "saliency") == pytest.approx(values(files, "saliency"), abs=1e-5)
    assert any("taken to be normalised" in notice for notice in run.info.notices)


def test_the_user_s_module_and_tensors_stay_untouched(tmp_path: Path) -> None:
    net, calls = network().to(memory_format=torch.channels_last).train(), []
    net.first.weight.requires_grad_(False)
    net.head.bias.grad = torch.ones(3)
    net.head.register_forward_hook(lambda *_: calls.append(1))
    before, images = copy.deepcopy(net), BYTES.clone()
    hooks = {name: dict(module._forward_hooks) for name, module in net.named_modules()}
    interpbench.run(
        model=net,
        method=["saliency", "gradcam"],
        images=BYTES,
        labels=LABELS,
        output=tmp_path / "run",
        **QUICK,
    )
    interpbench.explain(
        BYTES, model=net, method="saliency", device="cpu", output=tmp_path / "explained", **KEYWORDS
    )
    interpbench.doctor(net, images=BYTES, device="cpu", **KEYWORDS)
    assert (images == BYTES).all()
    assert all(module.training for module in net.modules())
    assert {name: dict(module._forward_hooks) for name, module in net.named_modules()} == hooks
    for (name, now), (_, then) in zip(
        [*net.named_parameters(), *net.named_buffers()], [*before.named_parameters(), *before.named_buffers()],
        strict=True,
    ):  # fmt: skip
        assert torch.equal(now, then), name
        assert (now.requires_grad, now.dtype, now.device, now.stride()) == (
            then.requires_grad, then.dtype, then.device, then.stride()
        )  # fmt: skip
        assert (now.grad is None) == (name != "head.bias")


def normed(net: nn.Module) -> nn.Module:
    """A layer's weight is computed before each pass, and no leaf."""
    net.head = nn.utils.weight_norm(net.head)
    return net


WRAPPED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": torch.compile,
    "data parallel": nn.DataParallel,
    "traced": lambda net: torch.jit.trace(net, torch.rand(1, 3, 10, 12)),
    "double": lambda net: net.double(),
    "computed weights": normed,
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "how", [pytest.param(how, marks=[pytest.mark.slow] * (how == "compiled")) for how in WRAPPED]
)
def test_a_module_in_a_wrapping_is_explained_and_stays(
    how: str, files: interpbench.Run, tmp_path: Path
) -> None:
    net = WRAPPED[how](network().eval())
    types = [type(module) for module in net.modules()]
    run = interpbench.run(
        model=net, method="saliency", images=BYTES, labels=LABELS, output=tmp_path / "run", **QUICK
    )
    assert set(run.scores["model"]) == {"Net"}
    assert values(run, "saliency") == pytest.approx(values(files, "saliency"), abs=1e-6)
    assert [type(module) for module in net.modules()] == types


def test_lists_and_dicts_of_models_methods_and_metrics(tmp_path: Path) -> None:
    def brightness(model: nn.Module, x: Tensor, target: Tensor, scale: float = 2.0) -> Tensor:
        return scale * x.mean(1)

    class Noise:
        """An object that is called."""

        def __call__(
            self, model: nn.Module, x: Tensor, target: Tensor, *, generators: Any
        ) -> Tensor:
            return torch.stack(
                [torch.rand(x.shape[2:], generator=generator) for generator in generators]
            )

    def positive(explanation: interpbench.Explanation) -> Tensor:
        return (explanation.saliency > 0).float().mean((1, 2))

    run = interpbench.run(
        model={"small": network(), "other": Net(4)},
        method=[brightness, {"as is": "saliency", "power": functools.partial(gradient, power=0.5)}, Noise(), "random"],
        images=BYTES, output=tmp_path / "run",
        **{**QUICK, "metric": ["insertion", (positive, "lower"), {"plain": positive}]},
    )  # fmt: skip
    assert run.failed.empty
    board = run.leaderboard
    assert set(board["model"]) == {"small", "other"}
    assert set(board["method"]) == {"brightness", "as-is", "power", "Noise", "random"}
    better = board.drop_duplicates("metric").set_index("metric")["better"]
    assert better.to_dict() == {
        "insertion:steps=3": "higher",
        "positive": "lower",
        "plain": "higher",
    }
    assert [n for n in run.info.notices if "more is taken to be better" in n] == [
        "Of plain, more is taken to be better: if not, (plain, 'lower')."
    ]
    assert run.info.plugins["method power"].parameters == {"power": 0.5}
    assert run.info.plugins["method brightness"].origin.startswith("memory: ")
    assert board["accuracy"].isna().all()  # nobody said the labels
    assert set(run.scores["label"]) == {-1}


def test_without_labels_pictures_and_page_claim_no_truth(tmp_path: Path) -> None:
    run = interpbench.run(
        model=network(),
        method="saliency",
        images=BYTES,
        output=tmp_path / "run",
        **{**QUICK, "plots": True},
    )
    page = (run.folder / "report.html").read_text()
    assert "taken for" not in page
    assert "recognised" not in page
    assert {example.true_class for example in run.tables.examples} == {""}
    assert "accuracy unknown" in run._repr_html_()
    with pytest.raises(DataError, match="without labels"):
        interpbench.run(
            model=network(), images=BYTES, target="label", output=tmp_path / "other", **QUICK
        )
    with pytest.raises(DataError, match="without labels"):
        interpbench.gallery(BYTES, model=network(), method="saliency", device="cpu", **KEYWORDS)


def test_a_decorated_function_is_the_plugin_that_it_registered(tmp_path: Path) -> None:
    from interpbench.registry.discovery import discover

    saliency = discover().get("method", "saliency").call
    run = interpbench.run(
        model=network(), method=saliency, images=BYTES, output=tmp_path / "run", **QUICK
    )
    assert set(run.scores["method"]) == {"saliency"}
    assert not run.info.plugins["method saliency"].origin.startswith("memory")


def test_what_is_in_memory_alone_is_not_published(tmp_path: Path) -> None:
    run = interpbench.run(
        model=network(), method=[gradient], images=BYTES, output=tmp_path / "run", **QUICK
    )
    with pytest.raises(SubmissionError) as error:
        publish(run, "Ada", results=tmp_path / "results")
    for name in ("dataset in-memory", "model Net", "method gradient", "in memory alone"):
        assert name in str(error.value)


def test_labels_beyond_the_logits_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    base = {"images": BYTES, "method": "saliency", "output": tmp_path / "run", **QUICK}
    with pytest.raises(
        WeightsError, match="gives 3 logits, 0 to 2, but the labels of 'tensors' go up to 7"
    ):
        interpbench.run(model=network(), labels=[0, 1, 2, 7], **base)
    with pytest.raises(DuplicatePluginError, match="Give them names"):
        interpbench.run(model=[network(), network()], **base)
    with pytest.raises(DuplicatePluginError, match="Two methods are called 'saliency'"):
        interpbench.run(model=network(), **{**base, "method": {"saliency": gradient}})
    with pytest.raises(interpbench.ParameterError, match="This is a class: make one"):
        interpbench.run(model=Net, **base)
    with pytest.raises(interpbench.ParameterError, match=r"must take \(model, x, target\)"):
        interpbench.run(model=network(), **{**base, "method": lambda x: x})
    with pytest.raises(interpbench.core.errors.PreparationError, match="State mean="):
        interpbench.run(model=network(), **{**base, "mean": None, "std": None})
    with pytest.raises(interpbench.core.errors.PluginError, match="is on the meta device"):
        interpbench.run(model=network().to("meta"), **base)
    with pytest.raises(DataError, match="both given"):
        interpbench.run(model=network(), dataset="planted", **base)
    with pytest.raises(DataError, match="belong to images in memory"):
        interpbench.run(model="resnet18", dataset="planted", labels=[1], device="cpu")
    with pytest.raises(DataError, match="On which images"):
        interpbench.doctor(network(), **KEYWORDS)


def test_a_method_that_gives_a_number_for_each_channel_is_told_how_to_reduce_them(
    tmp_path: Path,
) -> None:
    run = interpbench.run(
        model=network(),
        method={"raw": lambda model, x, target: x},
        images=BYTES,
        output=tmp_path / "run",
        **QUICK,
    )
    assert ".sum(1) or .abs().amax(1)" in run.failed["reason"].iloc[0]


def test_twice_gives_folders_of_their_own_and_resuming_finds_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: dict[str, Any] = {"model": network(), "method": [gradient], "images": BYTES, **QUICK}
    first, second = interpbench.run(**asked), interpbench.run(**asked)
    assert first.folder != second.folder
    resumed = interpbench.run(**asked, output=first.folder, resume=True)
    pd.testing.assert_frame_equal(resumed.scores, first.scores)
    with pytest.raises(interpbench.core.errors.RunFolderError, match="another run"):
        interpbench.run(**{**asked, "images": BYTES[:3]}, output=first.folder, resume=True)


def test_sanity_and_gallery_take_a_pair_of_images_and_labels(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"model": network(), "method": [gradient], "device": "cpu", **KEYWORDS}
    checked = interpbench.sanity(
        (BYTES, LABELS), images=4, test="random-logit", output=tmp_path / "sanity", **asked
    )
    assert set(checked.table["method"]) == {"gradient"}
    drawn = interpbench.gallery(
        (BYTES, LABELS), only="all", count=2, output=tmp_path / "gallery", **asked
    )
    assert (drawn.summary.classified, drawn.summary.drawn) == (4, 2)


def test_progress_is_shown_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("interpbench.core.progress_lines.EVERY", 0.0)
    asked: dict[str, Any] = {"model": network(), "method": "saliency", "images": BYTES, **QUICK}
    interpbench.run(**asked, output=tmp_path / "silent")
    assert capsys.readouterr() == ("", "")
    interpbench.run(**asked, output=tmp_path / "shown", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "4/4 maps, 100 %, 0 s left: Net saliency" in err.splitlines()


def test_in_ten_lines_as_in_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = """
import interpbench, torch
net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
x, y = torch.rand(6, 1, 12, 12), torch.tensor([0, 1, 2, 3, 0, 1])
def mine(model, x, target):
    return x.abs().sum(1)
run = interpbench.run(model=net, method=[mine, "gradcam", "random"], images=x, labels=y, mean=0.5, std=0.25, steps=3,
                      plots=False)
explained = interpbench.explain(x[0], model=net, method=mine, mean=0.5, std=0.25, output="explained")
table, figure = run._repr_html_(), run.plot()
"""
    scope: dict[str, Any] = {}
    exec(script, scope)
    assert scope["run"].failed.empty
    assert set(scope["run"].leaderboard["method"]) == {"mine", "gradcam", "random"}
    assert scope["explained"].complete
    assert os.listdir("results/runs")


def test_what_a_module_brings_along_is_said(tmp_path: Path) -> None:
    net = network().train()
    handle = net.second.register_forward_hook(lambda module, given, answer: None)
    found = interpbench.run(
        model=net, method="saliency", images=BYTES, labels=LABELS, output=tmp_path / "run", **QUICK
    )
    said = " ".join(found.info.notices)
    assert "It is in train mode; the copy that is explained is in eval mode." in said
    assert "It carries hooks (second), which run on the copy as well." in said
    assert net.training
    handle.remove()


def test_an_architecture_needs_to_know_how_many_classes_there_are(tmp_path: Path) -> None:
    base = {"images": BYTES, "weights": "random", "output": tmp_path / "run", **QUICK}
    with pytest.raises(interpbench.ParameterError, match="not known how many classes 'resnet18'"):
        interpbench.run(model="resnet18", method="saliency", **base)


def test_a_map_is_at_hand_and_a_layer_is_found(tmp_path: Path) -> None:
    def by_layer(model: Any, x: Tensor, target: Tensor) -> Tensor:
        return model.second

    explained = interpbench.explain(
        BYTES[:1], model=network(), method=["saliency", by_layer], device="cpu",
        output=tmp_path / "out", **KEYWORDS,
    )  # fmt: skip
    assert explained.saliency(method="saliency").shape == (10, 12)
    assert (
        "model.network.second, or model.layer('second')" in explained.outcome.failures["by_layer"]
    )
    with pytest.raises(InterpBenchError, match="Did you mean 'saliency'"):
        explained.saliency(method="salieny")


def test_a_sanity_check_of_one_logit_says_what_is_so_by_construction(tmp_path: Path) -> None:
    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)[:, :1]

    checked = interpbench.sanity(
        (BYTES, [0, 0, 1, 1]), model=One(), method="saliency", images=2, test="random-logit",
        device="cpu", output=tmp_path / "out", **KEYWORDS,
    )  # fmt: skip
    assert any("each other's negatives" in notice for notice in checked.outcome.notices)
