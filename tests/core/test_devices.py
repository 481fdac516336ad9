"""Devices, precisions and batch sizes: what may be asked for, and what is said about the rest."""

import os
import platform
from pathlib import Path

import pytest
import torch

from interpbench.core import devices
from interpbench.core.devices import (
    PRECISIONS,
    Computing,
    default_batch_size,
    describe,
    memory_kept,
    resolve_device,
    resolve_precision,
)
from interpbench.core.errors import DeviceError, UnknownNameError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_cpu_is_the_cpu() -> None:
    assert resolve_device("cpu") == CPU


def test_auto_is_a_device_that_works() -> None:
    device = resolve_device("auto")
    assert torch.ones(2, device=device).sum().item() == 2
    assert (device.type == "cpu") == (
        not torch.cuda.is_available() and not torch.backends.mps.is_available()
    )


@pytest.mark.parametrize(
    "name", ["gpu", "", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:0:0", "cpu:0", "mps:0", "cuda0"]
)
def test_other_names_are_refused_and_the_known_ones_listed(name: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        resolve_device(name)
    assert str(error.value).startswith(f"Unknown device {name!r}. ")
    assert str(error.value).endswith("Known: auto, cpu, cuda, cuda:N, mps.")


def test_a_near_name_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'cuda'"):
        resolve_device("cuda0")


def test_an_absent_gpu_is_named() -> None:
    with pytest.raises(DeviceError, match="Device 'cuda:99' is absent: "):
        resolve_device("cuda:99")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_message_says_what_to_use() -> None:
    with pytest.raises(DeviceError, match=r"torch sees no CUDA GPU here. Use --device cpu or auto"):
        resolve_device("cuda")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has MPS")
def test_without_mps_the_message_says_what_to_use() -> None:
    with pytest.raises(DeviceError, match=r"Device 'mps' is absent: .*Use --device cpu"):
        resolve_device("mps")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_may_be_chosen_by_its_number() -> None:
    assert resolve_device("cuda:0") == torch.device("cuda", 0)
    assert resolve_device("auto").type == "cuda"


def test_gpus_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(DeviceError, match="there are 2 GPUs, from cuda:0"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("device", [CPU, CUDA])
def test_a_precision_that_is_asked_for_is_given(name: str, device: torch.device) -> None:
    assert resolve_precision(name, device) == name


def test_auto_precision_is_fp32_on_a_cpu_and_bf16_on_a_gpu_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert resolve_precision("auto", CPU) == "fp32"
    for has_it, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has_it=has_it: has_it)
        assert resolve_precision("auto", CUDA) == expected


@pytest.mark.parametrize("name", ["float32", "FP32", "", "tf32"])
def test_other_precisions_are_refused(name: str) -> None:
    with pytest.raises(
        UnknownNameError, match=f"Unknown precision '{name}'.*Known: auto, bf16, fp16, fp32"
    ):
        resolve_precision(name, CPU)
    assert name not in PRECISIONS


@pytest.mark.parametrize(
    ("size", "on_cpu", "on_gpu"), [(8, 128, 1024), (32, 128, 1024), (64, 32, 1024), (224, 4, 334)]
)
def test_batch_sizes_depend_on_the_input_alone(size: int, on_cpu: int, on_gpu: int) -> None:
    assert default_batch_size(size, CPU) == on_cpu
    assert default_batch_size(size, CUDA) == on_gpu


def test_huge_images_still_make_a_batch() -> None:
    assert default_batch_size(10_000, CPU) == 4
    assert default_batch_size(10_000, CUDA) == 16


def test_the_cpu_is_described_with_its_threads() -> None:
    assert describe(CPU).startswith("cpu ")
    assert f"({torch.get_num_threads()} threads)" in describe(CPU)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is kept with glibc alone")
def test_freed_memory_is_kept_within_and_given_back_after() -> None:
    import resource

    pages, count = os.sysconf("SC_PAGE_SIZE"), 2**24

    def use() -> None:
        torch.ones(count)  # 64 MiB, more than glibc ever keeps by itself

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * pages

    with memory_kept():
        for _ in range(10):  # until there is a place
            use()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(5):
            use()
        assert (
            resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 4 * count / pages
        )  # of one use
        kept = resident()
    assert kept - resident() > 4 * count / 2


@pytest.mark.parametrize("has_it", [True, False])
def test_a_precision_that_the_processor_has_not_is_said_to_be_slow(
    has_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_has_arithmetic", lambda name: has_it)
    for asked in ({"precision": "bf16"}, {"map_precision": "bf16"}):
        said = Computing.of("cpu", **asked).detours
        expected = "This processor has no arithmetic in bf16: passes take several times as long"
        assert [text.startswith(expected) for text in said] == ([] if has_it else [True])
    assert Computing.of("cpu").detours == []
