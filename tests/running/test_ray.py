"""Blocks on a Ray cluster: the same bytes as in one process, whatever happens to its nodes."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import interpbench
from interpbench.core.errors import ParameterError, UnknownNameError
from interpbench.running.execute import Listener
from interpbench.running.ray_pool import RayPool
from interpbench.suite.cells import Cell
from tests.paths import TINY
from tests.running.test_workers import settings, tables, whole

__all__ = ["whole"]

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'interpbench[ray]'")

NOWHERE: Any = (
    time.sleep,
    "",
    "{}",
    1,
)  # what an actor is given that is to take a place, and no more


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    found = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    found.add_node(num_cpus=1)
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


def test_a_cluster_of_two_nodes_writes_what_one_process_writes(
    cluster: Any, whole: Path, tmp_path: Path
) -> None:
    finished = interpbench.run(**settings(tmp_path / "run", executor="ray"))
    assert finished.failed.empty
    assert tables(tmp_path / "run") == tables(whole)


@pytest.mark.slow
def test_a_node_that_is_lost_costs_nothing(cluster: Any, whole: Path, tmp_path: Path) -> None:
    class Remover(Listener):
        gone = False

        def images(self, cell: Cell, count: int) -> None:
            if count and not self.gone:
                self.gone = True
                cluster.remove_node(cluster.worker_nodes.copy().pop())
                cluster.add_node(num_cpus=1)

    finished = interpbench.run(**settings(tmp_path / "run", executor="ray", listener=Remover()))
    assert finished.failed.empty
    assert tables(tmp_path / "run") == tables(whole)


def test_what_no_node_can_ever_give_is_refused_with_what_they_have(cluster: Any) -> None:
    """The cluster has two CPUs, and neither node has both."""
    with pytest.raises(ParameterError, match="takes 2 CPU: its nodes have 1 CPU and 0 GPU; 1 CPU"):
        RayPool(NOWHERE, {"CPU": 2.0}, None).refuse_what_never_fits()
    with pytest.raises(ParameterError, match=r"takes 1 CPU and 0\.5 GPU"):
        RayPool(NOWHERE, {"CPU": 1.0, "GPU": 0.5}, 3).refuse_what_never_fits()
    fits = RayPool(NOWHERE, {"CPU": 0.5}, None)
    fits.refuse_what_never_fits()
    assert fits.room() == 4
    assert RayPool(NOWHERE, {"CPU": 0.5}, 3).room() == 3


@pytest.mark.slow
def test_what_a_worker_waits_for_is_said_with_what_is_free(cluster: Any) -> None:
    pool = RayPool(NOWHERE, {"CPU": 1.0}, 3)
    workers = [pool.hire(number) for number in (1, 2, 3)]
    said = "1 worker of 3 cannot begin yet: each takes 1 CPU; the Ray cluster has 2 CPU and 0 GPU, and 0 CPU"
    end = time.monotonic() + 60
    while not pool.waits_for().startswith(said):
        assert time.monotonic() < end, pool.waits_for()
        time.sleep(0.2)
    workers[0].dismiss()
    while pool.waits_for():  # the third has its place
        assert time.monotonic() < end, pool.waits_for()
        time.sleep(0.2)
    for worker in workers[1:]:
        worker.dismiss()


CRASHES = """
import os, signal
from interpbench import method

@method("crashes", reference="none")
def crashes(model, x, target):
    "Ends the process."
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_what_crashes_on_a_cluster_is_lost_alone(cluster: Any, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "crashes.py").write_text(CRASHES)
    changes = {
        "method": ["center", "crashes", "gradient", "random"],
        "plugin": [TINY, tmp_path / "crashes.py"],
    }
    finished = interpbench.run(**settings(tmp_path / "run", executor="ray", **changes))
    [reason] = finished.failed["reason"]
    assert "the process that ran it died" in reason
    scores = pd.read_parquet(tmp_path / "run" / "scores.parquet")
    pd.testing.assert_frame_equal(scores, pd.read_parquet(whole / "scores.parquet"))


def test_another_executor_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="ray"):
        interpbench.run(**settings(tmp_path / "run", executor="rey"))
    with pytest.raises(ParameterError, match="how many workers share a GPU"):
        interpbench.run(**settings(tmp_path / "run", executor="ray", per_device=0))
