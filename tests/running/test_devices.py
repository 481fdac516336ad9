"""Workers on several devices, and on devices of several kinds: what is refused, and what is recorded."""

import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import interpbench
from interpbench.core.devices import Computing
from interpbench.core.errors import DeviceError, ParameterError, RunFolderError, UnknownNameError
from interpbench.results.run_folder import RunFolder
from interpbench.running import executors
from interpbench.running.execute import Listener, execute
from interpbench.running.executors import Whereabouts, executor_of
from interpbench.running.record import differing_from, found_notices, identity_of
from tests.running.test_blocks import plan, without_conclusions
from tests.running.test_workers import settings, tables, whole

__all__ = ["whole", "without_conclusions"]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_each_worker_gets_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(executors, "in_workers", lambda texts, timeout: asked.append(texts))
    for device, changes in (
        ("cuda:0, cuda:1", {}),
        ("cpu,cpu", {"workers": 2}),
        ("cpu", {"workers": 2}),
    ):
        where = Whereabouts.of(device, **changes)
        executor_of(where, {"device": device, "seed": 3}, lambda text: plan(2), profile=False)
    assert asked == [
        ["{'device': 'cuda:0', 'seed': 3}", "{'device': 'cuda:1', 'seed': 3}"],
        ["{'device': 'cpu', 'seed': 3}"] * 2,
        ["{'device': 'cpu', 'seed': 3}"] * 2,
    ]  # fmt: skip


@pytest.mark.usefixtures("two_gpus")
def test_devices_that_are_absent_or_do_not_go_together_are_refused_by_name() -> None:
    first = Computing.of("cuda:0")
    assert first.beside(["cuda:1"], mix_devices=False).devices == (
        torch.device("cuda:0"),
        torch.device("cuda:1"),
    )
    with pytest.raises(DeviceError, match="'cuda:7' is absent: there are 2 GPUs"):
        first.beside(["cuda:7"], mix_devices=False)
    with pytest.raises(UnknownNameError, match="cuba"):
        first.beside(["cuba:1"], mix_devices=False)
    with pytest.raises(ParameterError, match=r"cpu and cuda, differ in the last digits.*--mix-dev"):
        first.beside(["cpu"], mix_devices=False)
    with pytest.raises(
        ParameterError, match="cpu and cuda, would take other batches: give --batch"
    ):
        first.beside(["cpu"], mix_devices=True)
    mixed = Computing.of("cuda:0", batch_size=4).beside(["cpu"], mix_devices=True)
    assert [device.type for device in mixed.devices] == ["cuda", "cpu"]


def test_combinations_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    def refused(match: str, **changes: Any) -> None:
        with pytest.raises(ParameterError, match=match):
            interpbench.run(**settings(tmp_path / "run", **changes))

    refused("makes 2 workers, one a device, and --workers 3", device="cpu,cpu", workers=3)
    refused("on a Ray cluster it is Ray", device="cpu,cpu", executor="ray")
    refused("leave isolation=none out, or a device", device="cpu,cpu", isolation="none")
    with pytest.raises(UnknownNameError):
        interpbench.run(**settings(tmp_path / "run", device="cpu,"))
    assert not (tmp_path / "run").exists()


def test_another_kind_of_device_goes_on_only_if_asked(tmp_path: Path) -> None:
    here = plan(2)
    folder = RunFolder(tmp_path / "run")
    execute(here, folder, "new", False, Listener())
    elsewhere = identity_of(here).model_copy(update={"device": "cuda"})
    folder.write_info(folder.info().model_copy(update={"identity": elsewhere}))
    with pytest.raises(RunFolderError, match="holds another run: device differ"):
        execute(here, folder, "resume", False, Listener())
    mixing = replace(here, computing=here.computing.beside([], mix_devices=True))
    assert differing_from(here, elsewhere) == ["device"]
    assert differing_from(mixing, elsewhere) == []
    assert differing_from(mixing, elsewhere.model_copy(update={"precision": "bf16"})) == [
        "precision"
    ]
    execute(mixing, folder, "resume", False, Listener())


def test_what_cells_ran_on_is_recorded_and_said_where_it_is_several(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    here = plan(2)
    execute(here, folder, "new", False, Listener())
    records = folder.cell_records()
    assert {record.devices for record in records} == {(f"cpu {platform.machine()}",)}
    assert not any("several kinds" in notice for notice in folder.info().notices)
    mixed = [records[0].model_copy(update={"devices": ("NVIDIA H200",)}), *records[1:]]
    [notice] = found_notices([], mixed, "fp32")
    assert "several kinds (NVIDIA H200, cpu " in notice


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs here")
def test_two_gpus_write_what_one_writes(tmp_path: Path) -> None:
    interpbench.run(**settings(tmp_path / "one", device="cuda:0"))
    interpbench.run(**settings(tmp_path / "two", device="cuda:0,cuda:1"))
    assert tables(tmp_path / "two") == tables(tmp_path / "one")
