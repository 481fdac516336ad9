"""Maps that were made elsewhere: scored as those of a method are, or refused before anything runs."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import interpbench
from interpbench.core.devices import Computing
from interpbench.core.errors import (
    DataError,
    DuplicatePluginError,
    InterpBenchError,
    MethodError,
    ParameterError,
    RunFolderError,
    SubmissionError,
    UnknownNameError,
)
from interpbench.publish.publishing import publish
from interpbench.registry.choosing import Sources
from interpbench.registry.discovery import discover
from interpbench.registry.maps_plugin import MapsPlugin
from interpbench.running.plan import Plan, make_plan
from interpbench.suite.selection import Selection
from interpbench.suite.suite import load_suite
from tests.command_line import BASE, call, refused, undrawn
from tests.paths import TINY

IDS = [f"tiny-{i:03d}" for i in range(8)]
ON_TINY: dict[str, Any] = {
    "dataset": "tiny:count=8", "model": "quadrants", "method": "center", "metric": "pointing-game", "images": 8,
    "ceiling": "none", "batch_size": 4, "weights": "random", "plugin": TINY, "device": "cpu", "plots": False,
}  # fmt: skip
Maps = Mapping[str, np.ndarray]


def map_of(number: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(number).random(shape or (16, 16), dtype=np.float32)


def maps_of(ids: Sequence[str] = IDS) -> dict[str, np.ndarray]:
    return {name: map_of(number) for number, name in enumerate(ids)}


def as_npy(root: Path, maps: Maps) -> Path:
    for name, found in maps.items():
        path = root / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, found)
    return root


def as_npz_files(root: Path, maps: Maps) -> Path:
    for name, found in maps.items():
        path = root / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, saliency=found)
    return root


def as_safetensors_files(root: Path, maps: Maps) -> Path:
    for name, found in maps.items():
        path = root / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"map": torch.from_numpy(found)}, path)
    return root


def as_npz(root: Path, maps: Maps) -> Path:
    root.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root.with_suffix(".npz"), **maps)
    return root.with_suffix(".npz")


def as_safetensors(root: Path, maps: Maps) -> Path:
    root.parent.mkdir(parents=True, exist_ok=True)
    path = root.with_suffix(".safetensors")
    save_file({name: torch.from_numpy(found) for name, found in maps.items()}, path)
    return path


def run(tmp_path: Path, **changes: Any) -> interpbench.Run:
    return interpbench.run(**(ON_TINY | {"output": tmp_path / "run"} | changes))


def planned(maps: Path, **changes: Any) -> Plan:
    """What a run on all eight images would do."""
    asked = {
        "dataset": "tiny:count=8", "models": ["quadrants"], "methods": ["center"], "metrics": ["pointing-game"],
        "images": 8, "ceiling": "none",
    }  # fmt: skip
    selection = Selection.of(load_suite("quick"), asked | changes)
    sources = Sources(weights=("random",), maps=(str(maps),))
    return make_plan(selection, discover([TINY]), Computing.of("cpu"), sources)


def refuse(tmp_path: Path, kind: type[InterpBenchError], **changes: Any) -> str:
    """What is said where a run must not begin."""
    with pytest.raises(kind) as error:
        run(tmp_path, **changes)
    assert not (tmp_path / "run").exists()
    return str(error.value)


def scores(finished: interpbench.Run, method: str) -> pd.DataFrame:
    rows = finished.scores[finished.scores["method"] == method]
    return rows.drop(columns=["method", "parameters"]).reset_index(drop=True)


def curves(finished: interpbench.Run, method: str) -> bytes:
    found = finished.curves_of(method=method).drop(columns=["method"])
    return found.to_csv(index=False).encode()


class TestScores:
    """Those of the method that made the maps, to the last bit."""

    def test_gradcam_from_files_scores_as_gradcam(self, tmp_path: Path) -> None:
        """Coarse maps of shipped weights on the planted data, in every format and in one run."""
        settings: dict[str, Any] = {
            "dataset": "planted", "model": "resnet18", "images": 4, "steps": 3, "ceiling": "none", "batch_size": 3,
            "device": "cpu", "plots": False,
        }  # fmt: skip
        gradcam = discover().get("method", "gradcam").call
        made: dict[str, np.ndarray] = {}

        def making(
            model: interpbench.Model, x: Tensor, target: Tensor, *, ids: Sequence[str]
        ) -> Tensor:
            maps: Tensor = gradcam(model, x, target)
            made.update(zip(ids, maps.numpy().copy(), strict=True))
            return maps

        interpbench.run(
            **settings, method=making, metric="pointing-game", output=tmp_path / "making"
        )
        assert {found.shape for found in made.values()} < {(n, n) for n in range(64)}
        writers = {"npy": as_npy, "npz": as_npz, "safetensors": as_safetensors}
        for name, write in writers.items():
            write(tmp_path / "maps" / name, made)
        finished = interpbench.run(
            **settings, method="gradcam", maps=tmp_path / "maps", metric="deletion,energy-inside",
            output=tmp_path / "run",
        )  # fmt: skip
        assert finished.failed.empty
        expected = scores(finished, "gradcam")
        assert len(expected) == 4 * 2
        for name in writers:
            assert scores(finished, name).to_csv() == expected.to_csv(), name
            assert curves(finished, name) == curves(finished, "gradcam"), name

    def test_the_same_maps_in_any_file_have_one_hash(self, tmp_path: Path) -> None:
        whole = {name: (found * 100).astype(np.int16) for name, found in maps_of().items()}
        for write in (as_npy, as_npz_files, as_safetensors_files, as_npz, as_safetensors):
            write(tmp_path / "maps" / write.__name__, whole)
        others = {"double": np.float64, "big-endian": ">f4", "half": np.float16, "uint16": "u2"}
        for name, dtype in others.items():
            as_npy(tmp_path / "maps" / name, {n: m.astype(dtype)[None] for n, m in whole.items()})
        brain = {n: torch.from_numpy(m).to(torch.bfloat16) for n, m in whole.items()}
        save_file(brain, tmp_path / "maps" / "brain.safetensors")
        plugins = [method.plugin for method in planned(tmp_path / "maps").methods.values()]
        hashes = {p.source_hash for p in plugins if isinstance(p, MapsPlugin)}
        assert len(plugins) == 1 + 5 + 4 + 1
        assert [len(content) for content in hashes] == [64]

    def test_maps_of_several_sizes_are_each_enlarged(self, tmp_path: Path) -> None:
        sizes = [(4, 4), (4, 8), (16, 16), (1, 16)] * 2
        coarse = {n: map_of(i, *sizes[i]) for i, n in enumerate(IDS)}
        large = {
            name: torch.nn.functional.interpolate(
                torch.from_numpy(found)[None, None], (16, 16), mode="bilinear"
            )[0, 0].numpy()
            for name, found in coarse.items()
        }
        as_npy(tmp_path / "maps" / "coarse", coarse)
        as_npy(tmp_path / "maps" / "large", large)
        finished = run(tmp_path, maps=tmp_path / "maps", metric="pointing-game,deletion", steps=4)
        assert scores(finished, "coarse").to_csv() == scores(finished, "large").to_csv()

    def test_maps_that_are_no_answer_are_counted_as_every_methods(self, tmp_path: Path) -> None:
        maps = maps_of()
        maps[IDS[1]][3, 3] = np.nan
        maps[IDS[2]][:] = 0.5
        [row] = (
            run(tmp_path, maps=as_npy(tmp_path / "mine", maps))
            .leaderboard.query("method == 'mine'")
            .to_dict("records")
        )
        assert (row["constant"], row["nonfinite"], row["unscored"]) == (1, 1, 2)

    @pytest.mark.slow
    def test_a_worker_scores_what_one_process_scores(self, tmp_path: Path) -> None:
        root = as_npy(tmp_path / "mine", maps_of())
        run(tmp_path, maps=[root], output=tmp_path / "here", block_size=4)
        run(tmp_path, maps=[root], output=tmp_path / "there", block_size=4, workers=1)
        here, there = (
            (tmp_path / which / "scores.csv").read_bytes() for which in ("here", "there")
        )
        assert b"mine" in here
        assert here == there


class TestNames:
    """Which files are whose map, and what the methods are called."""

    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        for name in ("cat/1.png", "cat/2.png", "dog/1.jpg", "dog/2.v2.png"):
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.uint8(map_of(len(name)) * 255)).save(path)
        return tmp_path / "photos"

    @pytest.fixture
    def on_photos(self, photos: Path) -> dict[str, Any]:
        logits = "cat,dog,c,d"
        return {
            "dataset": f'imagefolder:root={photos},classes="{logits}"', "images": 4, "mean": 0.5, "std": 0.25,
            "size": 16, "metric": "deletion", "steps": 2,
        }  # fmt: skip

    def test_ids_with_slashes_with_and_without_the_images_suffix(
        self, tmp_path: Path, on_photos: dict[str, Any]
    ) -> None:
        names = ["cat/1.png", "cat/2", "dog/1", "dog/2.v2"]
        root = as_npy(tmp_path / "mine", maps_of(names))
        np.savez(tmp_path / "packed.npz", **maps_of(names))
        finished = run(tmp_path, **on_photos, maps=[root, tmp_path / "packed.npz"])
        assert finished.failed.empty
        assert scores(finished, "mine").to_csv() == scores(finished, "packed").to_csv()
        assert list(scores(finished, "mine")["sample_id"]) == [
            "cat/1.png", "cat/2.png", "dog/1.jpg", "dog/2.v2.png",
        ]  # fmt: skip

    def test_two_maps_of_a_sample_are_refused(
        self, tmp_path: Path, on_photos: dict[str, Any]
    ) -> None:
        names = ["cat/1.png", "cat/1", "cat/2", "dog/1", "dog/2.v2"]
        root = as_npy(tmp_path / "mine", maps_of(names))
        said = refuse(tmp_path, DataError, **on_photos, maps=root)
        assert f"{root}/cat/1.png.npy and {root}/cat/1.npy: which is meant?" in said

    def test_a_map_of_two_samples_is_refused(
        self, tmp_path: Path, photos: Path, on_photos: dict[str, Any]
    ) -> None:
        shutil.copy(photos / "dog/1.jpg", photos / "cat/1.jpg")
        root = as_npy(tmp_path / "mine", maps_of(["cat/1", "cat/2", "dog/1", "dog/2.v2"]))
        said = refuse(tmp_path, DataError, **on_photos | {"images": 5}, maps=root)
        assert "cat/1.npy could be the map of 'cat/1.jpg' or 'cat/1.png'" in said

    def test_the_same_as_a_method_by_hand(self, tmp_path: Path) -> None:
        root = as_npy(tmp_path / "mine", maps_of())
        finished = run(tmp_path, method=f"center,maps:{root}", maps=root)
        label = f"maps:{root}"
        assert scores(finished, label).to_csv() == scores(finished, "mine").to_csv()
        record = finished.info.plugins[f"method {label}"]
        assert record == finished.info.plugins["method mine"]
        assert record.parameters == {"root": str(root)}
        assert record.origin == f"maps: {root}"

    def test_beside_the_methods_of_the_suite(self, tmp_path: Path) -> None:
        root = as_npy(tmp_path / "mine", maps_of())
        plan = planned(root, methods=None)
        assert {"mine", "random", "gradcam"} <= set(plan.methods)
        assert plan.suite.methods[-1] == "mine"
        assert plan.changed

    def test_names_that_are_taken_or_none_are_refused(self, tmp_path: Path) -> None:
        taken = as_npy(tmp_path / "center", maps_of())
        said = refuse(tmp_path, DuplicatePluginError, maps=taken)
        assert "Two methods are called 'center'" in said
        assert f"--method maps:{taken}" in said
        one, other = (as_npy(tmp_path / which / "mine", maps_of()) for which in "ab")
        assert "Two methods" in refuse(tmp_path, DuplicatePluginError, maps=[one, other])
        for name in ("a b", "a,b", "all"):
            root = as_npy(tmp_path / name, maps_of())
            assert "gives no name for a method" in refuse(tmp_path, ParameterError, maps=root)
        unknown = refuse(tmp_path, UnknownNameError, method="mine")
        assert "--maps DIR" in unknown


class TestRefusals:
    """All before anything runs, with the path."""

    def test_missing_maps(self, tmp_path: Path) -> None:
        root = as_npy(tmp_path / "mine", maps_of(IDS[:3]))
        said = refuse(tmp_path, DataError, maps=root)
        assert "no map of 5 of the run's 8 samples: 'tiny-003', 'tiny-004', 'tiny-005', ..." in said
        assert f"Looked for {root}/tiny-003.npy, tiny-003.npz, tiny-003.safetensors" in said
        listed = tmp_path / "listed.txt"
        listed.write_text("\n".join(IDS[:3]))
        assert run(tmp_path, maps=root, samples=listed, images=3).failed.empty

    def test_missing_in_an_archive(self, tmp_path: Path) -> None:
        path = as_npz(tmp_path / "mine", maps_of(IDS[:-1]))
        said = refuse(tmp_path, DataError, maps=path)
        assert "no map of 1 of the run's 8 samples: 'tiny-007'. " in said
        assert f"Looked for {path}['tiny-007']." in said

    def test_no_maps_at_all(self, tmp_path: Path) -> None:
        said = refuse(tmp_path, DataError, maps=tmp_path / "none")
        assert f"There are no maps {str(tmp_path / 'none')!r}" in said
        (tmp_path / "empty").mkdir()
        said = refuse(tmp_path, DataError, maps=tmp_path / "empty")
        assert "holds no map of a sample, and no subfolder" in said
        assert "There are no maps" in refuse(tmp_path, DataError, method=f"maps:{tmp_path}/none")

    @pytest.mark.parametrize(
        ("found", "reason"),
        [
            (np.zeros((3, 16, 16)), "is [3, 16, 16]; expected a map [H,W].*channels.*array.sum"),
            (np.zeros((16, 16, 1)), "is [16, 16, 1]; expected a map [H,W]"),
            (np.zeros(16), "is [16]; expected a map [H,W]"),
            (np.zeros((0, 16)), "is [0, 16]; expected a map [H,W]"),
            (np.zeros((16, 17)), "is [16, 17], larger than the model's input, [16,16]"),
            (np.zeros((16, 16), bool), "holds bool; expected a map [H,W]"),
            (np.zeros((16, 16), complex), "holds complex128; expected"),
            (np.array(["a"]), "holds <U1; expected"),
        ],
    )
    def test_what_is_no_map(self, tmp_path: Path, found: np.ndarray, reason: str) -> None:
        root = as_npy(tmp_path / "mine", maps_of() | {IDS[2]: found})
        said = refuse(tmp_path, DataError, maps=root)
        start, _, end = reason.partition(".*")
        assert f"{root}/{IDS[2]}.npy {start}" in said
        assert all(part in said for part in end.split(".*"))

    @pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
    @pytest.mark.parametrize("content", [b"", b"nothing of the kind", None])
    def test_what_cannot_be_read(self, tmp_path: Path, suffix: str, content: bytes | None) -> None:
        write = {".npy": as_npy, ".npz": as_npz_files, ".safetensors": as_safetensors_files}[suffix]
        root = write(tmp_path / "mine", maps_of())
        broken = root / f"{IDS[2]}{suffix}"
        broken.write_bytes(broken.read_bytes()[:-100] if content is None else content)
        said = refuse(tmp_path, DataError, maps=root)
        assert f"{broken}" in said
        assert "cannot be read" in said

    def test_code_in_a_file_is_not_run(self, tmp_path: Path) -> None:
        root = as_npy(tmp_path / "mine", maps_of())
        np.save(root / f"{IDS[0]}.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
        assert "Object arrays cannot be loaded" in refuse(tmp_path, DataError, maps=root)

    def test_several_arrays_in_the_file_of_a_sample(self, tmp_path: Path) -> None:
        root = as_npy(tmp_path / "mine", maps_of(IDS[1:]))
        np.savez(root / f"{IDS[0]}.npz", a=map_of(1), b=map_of(2))
        said = refuse(tmp_path, DataError, maps=root)
        assert f"{root}/{IDS[0]}.npz holds 2 arrays; expected one" in said

    def test_several_models(self, tmp_path: Path) -> None:
        root = as_npy(tmp_path / "mine", maps_of())
        said = refuse(tmp_path, ParameterError, maps=root, model="quadrants,viewing")
        assert "explain one model, and the run has 2 (quadrants, viewing)" in said


class TestTargets:
    """What a file says of the classes that maps are for."""

    def stated(self, tmp_path: Path, classes: object, where: str = "mine") -> Path:
        root = as_npy(tmp_path / "mine", maps_of())
        (tmp_path / where / "targets.json").write_text(json.dumps(classes))
        return root

    @pytest.mark.parametrize("where", ["mine", "."])
    def test_maps_for_the_class_that_is_explained(self, tmp_path: Path, where: str) -> None:
        names = ["nw", "ne", "sw", "se"]
        classes = {n: i % 4 if i < 4 else names[i % 4] for i, n in enumerate(IDS)}
        root = self.stated(tmp_path, classes, where)
        method = planned(root).methods["mine"]
        x = torch.zeros(8, 3, 16, 16)
        found = method(None, x, torch.arange(8) % 4, ids=IDS)
        assert torch.equal(found, torch.from_numpy(np.stack(list(maps_of().values()))))
        with pytest.raises(MethodError, match="'tiny-003' is for class 'se'"):
            method(None, x, torch.arange(8) % 3, ids=IDS)

    def test_maps_for_another_class_fail_alone_and_by_name(self, tmp_path: Path) -> None:
        classes = {n: i % 4 for i, n in enumerate(IDS)} | {IDS[5]: "sw"}
        root = self.stated(tmp_path, classes)
        finished = run(tmp_path, maps=root)
        [reason] = finished.failed["reason"]
        assert (
            f"the map of 'tiny-005' is for class 'sw' (2), as {root}/targets.json says, and 'ne' (1)"
            in reason
        )
        status = finished.leaderboard.set_index("method")["status"].to_dict()
        assert status == {"center": "ok", "mine": "failed"}

    @pytest.mark.parametrize(
        ("classes", "reason"),
        [
            ({IDS[0]: 0}, "does not say which class the map of 'tiny-001' is for"),
            (dict.fromkeys(IDS, 4), "Unknown class of 'tiny-000' in .*: 4. Expected the index"),
            (dict.fromkeys(IDS, -1), "Unknown class of 'tiny-000' in .*: -1. Expected"),
            (dict.fromkeys(IDS, True), "Unknown class of 'tiny-000' in"),
            (dict.fromkeys(IDS, "nv"), "Did you mean 'nw'"),
            ([0, 1], "Expected JSON that gives the class"),
        ],
    )
    def test_what_says_nothing_of_a_class(
        self, tmp_path: Path, classes: object, reason: str
    ) -> None:
        said = refuse(tmp_path, InterpBenchError, maps=self.stated(tmp_path, classes))
        assert str(tmp_path / "mine" / "targets.json") in said
        assert all(part in said for part in reason.split(".*"))


class TestRecord:
    """What comes of a run that is checked, resumed, asked again or published."""

    def test_resume_goes_on_with_the_same_maps_and_refuses_others(self, tmp_path: Path) -> None:
        root = as_npy(tmp_path / "mine", maps_of())
        whole = run(tmp_path, maps=root)
        before = (tmp_path / "run" / "scores.csv").read_bytes()
        again = run(tmp_path, maps=root, resume=True)
        assert again.info.plugins == whole.info.plugins
        assert (tmp_path / "run" / "scores.csv").read_bytes() == before
        moved = as_npz(tmp_path / "moved" / "mine", maps_of())  # the same, in another file
        run(tmp_path, maps=moved, resume=True)
        assert (tmp_path / "run" / "scores.csv").read_bytes() == before
        np.save(root / f"{IDS[6]}.npy", map_of(100))
        with pytest.raises(RunFolderError, match="Method 'mine' has changed"):
            run(tmp_path, maps=root, resume=True)

    def test_a_map_that_changes_under_way_fails(self, tmp_path: Path) -> None:
        root = as_npy(tmp_path / "mine", maps_of())

        def change(model: Any, x: Tensor, target: Tensor, *, ids: Sequence[str]) -> Tensor:
            np.save(root / f"{IDS[6]}.npy", map_of(100))
            return x.mean(1)

        finished = run(tmp_path, method=change, maps=root)
        [reason] = finished.failed["reason"]
        assert f"{root}/tiny-006.npy has changed since the run began" in reason

    def test_what_asks_the_method_again_fails_alone(self, tmp_path: Path) -> None:
        root = as_npy(tmp_path / "mine", maps_of())
        metrics = "pointing-game,max-sensitivity:samples=2"
        finished = run(tmp_path, maps=root, metric=metrics)
        [failure] = finished.failed.to_dict("records")
        assert failure["method"] == "mine"
        assert "max-sensitivity:samples=2" in failure["reason"]
        assert "needs a method that can be asked again" in failure["reason"]
        assert "files" in failure["reason"]
        assert len(finished.scores.query("method == 'mine' and metric == 'pointing-game'")) == 8
        assert len(finished.scores.query("method == 'center'")) == 16

    def test_nothing_of_it_is_published(self, tmp_path: Path) -> None:
        finished = run(tmp_path, maps=as_npy(tmp_path / "mine", maps_of()))
        with pytest.raises(SubmissionError, match="nobody can make the maps of method mine again"):
            publish(finished, "Ada", results=tmp_path / "results")

    def test_only_a_run_takes_them(self, tmp_path: Path) -> None:
        root = as_npy(tmp_path / "mine", maps_of())
        explained = interpbench.explain(
            np.uint8(map_of(0, 2, 3, 16, 16) * 255), model="quadrants", method=["center", f"maps:{root}"],
            weights="random", dataset="tiny", plugin=TINY, device="cpu", output=tmp_path / "out",
        )  # fmt: skip
        assert "only `run` and `run --plan` take it" in str(explained.outcome.failures)

    def test_what_it_would_cost(self, tmp_path: Path) -> None:
        root = as_npy(tmp_path / "mine", maps_of())
        settings = {k: v for k, v in ON_TINY.items() if k != "plots"}
        found = interpbench.forecast(**settings, maps=root)
        [cost] = [cost for cost in found.costs if cost.label == "mine"]
        assert (cost.forwards, cost.backwards, cost.failure) == (0, 0, "")


class TestCommandLine:
    """As a user types it."""

    @undrawn()
    def test_from_folders(self, tmp_path: Path) -> None:
        as_npy(tmp_path / "maps" / "one", maps_of())
        as_npz(tmp_path / "maps" / "two", maps_of())
        typed = [
            *BASE, "--weights", "random", "--dataset", "tiny:count=8", "--method", "center", "--metric",
            "pointing-game", "--images", "8", "--ceiling", "none", "--quiet",
        ]  # fmt: skip
        maps = ["--maps", tmp_path / "maps", "--maps", as_npy(tmp_path / "three", maps_of())]
        code, out, error = call("run", *typed, *maps, "--output", tmp_path / "run")
        assert code == 0, error
        assert all(name in out for name in ("one", "two", "three", "center"))
        found = interpbench.load_run(tmp_path / "run")
        assert len({scores(found, name).to_csv() for name in ("one", "two", "three")}) == 1
        (tmp_path / "three" / f"{IDS[0]}.npy").unlink()
        said = refused("run", *typed, *maps, "--output", tmp_path / "other")
        assert "Method 'three' has no map of 1 of the run's 8 samples: 'tiny-000'." in said
