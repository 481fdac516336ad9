"""A campaign of random faults: whatever strikes a run, its tables are those of a run that nothing struck.

Twenty on workers of this machine and twenty on a Ray cluster of two nodes, of kinds and at moments that a seed draws.
`-m slow -n 0 -s` says what came of each.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import interpbench
from tests.running import faults

FAULTS = 20
BY_METHODS = ("exits", "segfaults", "hangs")
LOCAL = (*BY_METHODS, "worker killed", "driver killed")
ON_RAY = (*LOCAL, "node removed", "node added")


def drawn(kinds: tuple[str, ...], seed: int) -> list[tuple[int, str]]:
    """A campaign: each kind about as often as every other, each with a seed of its own."""
    rng = random.Random(seed)
    several = [*kinds] * (FAULTS // len(kinds)) + rng.sample(kinds, FAULTS % len(kinds))
    rng.shuffle(several)
    return [(100 * seed + i, kind) for i, kind in enumerate(several)]


def named(case: object) -> str:
    return str(case).replace(" ", "-")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "run"
    assert interpbench.run(**faults.settings(folder)).failed.empty
    return folder


@pytest.fixture(scope="module")
def told() -> Iterator[list[str]]:
    """What came of the faults, said at the end."""
    lines: list[str] = []
    yield lines
    print("", *lines, f"{len(lines)} faults struck, and none told in a table", sep="\n")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU each."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'interpbench[ray]'")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=head)
    found.add_node(num_cpus=1)
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


def in_two_nodes(cluster: Any) -> Any:
    """The cluster as it was before faults that take nodes away, or bring them."""
    while len(cluster.worker_nodes) > 1:
        cluster.remove_node(cluster.worker_nodes.copy().pop())
    if not cluster.worker_nodes:
        cluster.add_node(num_cpus=1)
    return cluster


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "kind"), drawn(LOCAL, seed=1), ids=named)
def test_on_this_machine(
    seed: int, kind: str, clean: Path, tmp_path: Path, told: list[str]
) -> None:
    rng, began = random.Random(seed), time.monotonic()
    if kind in BY_METHODS:
        _, watch = faults.run_with_faulty(tmp_path, kind, workers=2)
        faults.same_but_for_faulty(tmp_path / "run", clean)
        what = f"{len(watch.losses)} workers lost"
    elif kind == "worker killed":
        when = rng.randint(0, faults.EVENTS - 4)
        what = killed_at(when, rng, clean, tmp_path, faults.local_workers, workers=2)
    else:
        when, how = rng.randint(1, 24), rng.choice([{}, {"workers": 3}])
        faults.kill_driver(
            when, faults.local_workers, **faults.settings(tmp_path / "run", workers=2)
        )
        faults.resume(tmp_path / "run", **how)
        assert faults.tables(tmp_path / "run") == faults.tables(clean)
        what = f"after {when} batches; gone on with {how or 'in this process'}"
    told.append(f"{len(told) + 1}. {kind}: {what}; {time.monotonic() - began:.0f} s")


def killed_at(
    when: int, rng: random.Random, clean: Path, folder: Path, find: Any, **where: Any
) -> str:
    """A worker is killed after so many batches, and its block alone begun again."""
    killed: list[int] = []
    watch = faults.Watch(when, lambda: killed.append(faults.kill_one(find(), rng.choice)))
    finished = faults.run(watch, **faults.settings(folder / "run", **where))
    assert killed == [1]
    assert len(watch.losses) <= 1  # of one that has done its last job nothing is heard
    assert finished.failed.empty
    assert faults.tables(folder / "run") == faults.tables(clean)
    return f"after {when} batches: {', '.join(map(str, watch.losses)) or 'it had nothing to do any more'}"


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "kind"), drawn(ON_RAY, seed=2), ids=named)
def test_on_a_ray_cluster(
    seed: int, kind: str, cluster: Any, clean: Path, tmp_path: Path, told: list[str]
) -> None:
    rng, began = random.Random(seed), time.monotonic()
    nodes = in_two_nodes(cluster)
    when = rng.randint(1, 24)
    if kind in BY_METHODS:
        _, watch = faults.run_with_faulty(tmp_path, kind, executor="ray")
        faults.same_but_for_faulty(tmp_path / "run", clean)
        what = f"{len(watch.losses)} workers lost"
    elif kind == "worker killed":
        what = killed_at(when, rng, clean, tmp_path, faults.actors, executor="ray")
    elif kind == "driver killed":
        how = rng.choice([{}, {"workers": 2}, {"executor": "ray"}])
        on_ray = faults.settings(tmp_path / "run", executor=f"ray:{nodes.address}")
        faults.kill_driver(when, faults.actors, **on_ray)
        faults.resume(tmp_path / "run", **how)
        assert faults.tables(tmp_path / "run") == faults.tables(clean)
        what = f"after {when} batches; gone on with {how or 'in this process'}"
    else:
        strikes = {
            "node removed": lambda: nodes.remove_node(nodes.worker_nodes.copy().pop()),
            "node added": lambda: nodes.add_node(num_cpus=1),
        }
        watch = faults.Watch(when, strikes[kind])
        finished = faults.run(watch, **faults.settings(tmp_path / "run", executor="ray"))
        assert finished.failed.empty
        assert faults.tables(tmp_path / "run") == faults.tables(clean)
        what = f"after {when} batches; {len(watch.losses)} workers lost"
    told.append(f"{len(told) + 1}. {kind}: {what}; {time.monotonic() - began:.0f} s")
