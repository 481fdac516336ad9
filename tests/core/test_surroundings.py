"""Whatever the caller has set of torch, and in threads and processes: the same bytes, and all as it was."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import interpbench
from interpbench.core.errors import DeviceError
from tests.in_memory import BYTES, LABELS, QUICK, gradient, network
from tests.paths import ROOT
from tests.picture_commands import draw_coarsely

ASKED: dict[str, Any] = {
    "images": BYTES,
    "labels": LABELS,
    "method": "smoothgrad:samples=2",
    **QUICK,
}


NETWORK = network()  # made once, since that seeds the process's random state


def content(run: interpbench.Run) -> dict[str, bytes]:
    """The tables that hold no times."""
    return {name: (run.folder / name).read_bytes() for name in ("scores.csv", "comparisons.csv")}


def chance(model: Any, x: torch.Tensor, target: Any) -> torch.Tensor:
    """Noise of the process's own random state, which a run seeds, drawn a while later."""
    time.sleep(0.3)
    return torch.rand(len(x), *x.shape[2:])


def run_into(folder: Path, **changed: Any) -> interpbench.Run:
    return interpbench.run(model=NETWORK, output=folder, **{**ASKED, **changed})


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return content(run_into(tmp_path_factory.mktemp("plain") / "run"))


@contextmanager
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def on_meta() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS: dict[str, AbstractContextManager[Any]] = {
    "inference mode": torch.inference_mode(),
    "no gradients": torch.no_grad(),
    "float64": double(),
    "default device": on_meta(),
    "a device's context": torch.device("meta"),
    "autocast": torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_the_caller_has_set_changes_nothing_and_stays(
    setting: str, tmp_path: Path, plain: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_coarsely(monkeypatch)
    net, setting_of = network(), SETTINGS[setting]
    with setting_of:
        state = surroundings()
        assert state != surroundings_of_default()
        run = interpbench.run(model=net, output=tmp_path / "run", **ASKED)
        explained = interpbench.explain(
            BYTES[:1],
            model=net,
            method=[gradient],
            mean=0.5,
            std=0.5,
            device="cpu",
            output=tmp_path / "explained",
        )
        assert surroundings() == state
    assert surroundings() == surroundings_of_default()
    assert content(run) == plain
    assert explained.complete


def surroundings() -> tuple[Any, ...]:
    return (
        torch.is_inference_mode_enabled(), torch.is_grad_enabled(), torch.get_default_dtype(),
        str(torch.get_default_device()), torch.is_autocast_enabled("cpu"),
    )  # fmt: skip


def surroundings_of_default() -> tuple[Any, ...]:
    return (False, True, torch.float32, "cpu", False)


def test_a_module_made_in_inference_mode_can_be_explained(
    tmp_path: Path, plain: dict[str, bytes]
) -> None:
    with torch.inference_mode():
        net = network()
    run = interpbench.run(model=net, output=tmp_path / "run", **ASKED)
    assert content(run) == plain


def test_what_is_wrong_leaves_everything_as_it_was() -> None:
    with torch.inference_mode(), pytest.raises(interpbench.ParameterError):
        interpbench.run(model=3)
    assert surroundings() == surroundings_of_default()


def test_two_runs_at_once_give_what_each_gives_alone(tmp_path: Path) -> None:
    alone = [
        content(run_into(tmp_path / f"alone-{seed}", seed=seed, method=chance)) for seed in (0, 1)
    ]
    together: dict[int, dict[str, bytes]] = {}
    barrier = threading.Barrier(2)

    def work(seed: int) -> None:
        barrier.wait()
        together[seed] = content(run_into(tmp_path / f"together-{seed}", seed=seed, method=chance))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[0], together[1]] == alone
    assert alone[0] != alone[1]


def in_a_process(folder: Path, queue: Any) -> None:
    try:
        queue.put(content(run_into(folder)))
    except Exception as error:
        queue.put(error)


def in_a_child(method: str, folder: Path) -> Any:
    """What a run in a process that is started so gives."""
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=in_a_process, args=(folder, queue))
    process.start()
    answer = queue.get(timeout=120)
    process.join(timeout=60)
    assert process.exitcode == 0
    return answer


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here"
)
def test_in_a_forked_process_it_works_even_while_another_thread_runs(
    tmp_path: Path, plain: dict[str, bytes]
) -> None:
    held, free = threading.Event(), threading.Event()

    def slow(model: Any, x: torch.Tensor, target: Any) -> torch.Tensor:
        held.set()
        free.wait(60)
        return x.mean(1)

    thread = threading.Thread(target=lambda: run_into(tmp_path / "slow", method=slow))
    thread.start()
    try:
        assert held.wait(60)
        assert in_a_child("fork", tmp_path / "run") == plain
    finally:
        free.set()
        thread.join()


FORKED = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(2)
torch.rand(600, 600) @ torch.rand(600, 600)  # its threads exist from here on
from tests.core.test_surroundings import content, in_a_child, run_into
here, there = Path(sys.argv[1]) / "here", Path(sys.argv[1]) / "there"
print(in_a_child("fork", there).keys() == content(run_into(here)).keys())
"""


@pytest.mark.slow
def test_a_forked_process_does_not_wait_for_its_parent_s_threads(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", FORKED, tmp_path],
        env=environment,
        cwd=ROOT,
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.slow
def test_in_a_spawned_process_it_works(tmp_path: Path, plain: dict[str, bytes]) -> None:
    assert in_a_child("spawn", tmp_path / "run") == plain


def test_a_forked_process_of_one_with_cuda_is_told_to_be_spawned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    for device in ("cuda", "auto"):
        with pytest.raises(DeviceError, match="spawn"):
            interpbench.doctor(network(), images=BYTES, mean=0, std=1, device=device)
