"""Workers on a Ray cluster, on this machine or on many.

Each is an actor that rebuilds the plan on its node. Ray never repeats anything by itself, since it
would run what crashes twice and then not know whether it did: the scheduler decides. The driver
alone writes, so no file system need be shared but for what the plan itself reads: data, weights and
plugins' files have to lie on each node where they lie here.
"""

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from interpbench.core.errors import InterpBenchError, ParameterError, in_one_line, said
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import Identity
from interpbench.running.execute import Executor, Listener, Loss, in_words
from interpbench.running.plan import Plan
from interpbench.running.record import identity_of
from interpbench.running.resume import Kept
from interpbench.running.scheduler import (
    Answer,
    Died,
    Done,
    Job,
    Ready,
    Refused,
    Scheduler,
    Worker,
)
from interpbench.running.serving import serve


@dataclass(frozen=True)
class Cluster:
    """What a user says of a Ray cluster.

    Attributes:
        address: where it is; "" takes the one that this process or its environment knows, or else
            starts one on this machine.
        workers: how many at most; None takes as many as it has room for.
        per_device: workers that share a GPU.
    """

    address: str = ""
    workers: int | None = None
    per_device: float = 1


def on_ray(
    cluster: Cluster, rebuild: Callable[[str], Plan], arguments: str, timeout: float | None = None
) -> Executor:
    """Runs cells on a Ray cluster.

    Parameters:
        cluster: which.
        rebuild: makes the plan of the arguments; a function that each node can import.
        arguments: of `interpbench.run`, as a Python literal.
        timeout: seconds that a block of a cell, or getting a model ready, may take.

    Raises:
        ParameterError: if Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError:
        raise ParameterError(
            "Ray is not installed: pip install 'interpbench[ray]', or run without --executor ray."
        ) from None

    def run(plan: Plan, folder: RunFolder, old: Kept, listener: Listener) -> Sequence[Loss]:
        if not ray.is_initialized():
            try:
                ray.init(cluster.address or None, log_to_driver=False, configure_logging=False)
            except (ConnectionError, ValueError) as error:
                raise ParameterError(
                    f"There is no Ray cluster at {cluster.address!r}: {in_one_line(error)}. Start "
                    "one with `ray start --head`, or leave the address out."
                ) from None
        on_gpu = plan.computing.device.type == "cuda"
        threads = 1 if on_gpu or cluster.workers != 1 else torch.get_num_threads()
        needs = {"CPU": float(threads)} | ({"GPU": 1 / cluster.per_device} if on_gpu else {})
        begin = (rebuild, arguments, identity_of(plan).text(), threads)
        pool = RayPool(begin, needs, cluster.workers)
        pool.refuse_what_never_fits()
        advice = "See the logs of Ray's workers."
        return Scheduler(pool, timeout, advice)(plan, folder, old, listener)

    return run


# What an actor begins with: what makes its plan, of which arguments, the run's identity as JSON,
# and the threads that it computes in on a CPU.
Begin = tuple[Callable[[str], Plan], str, str, int]


NODES_CHANGE = 5.0  # seconds between two looks at which nodes there are


class RayPool:
    """Actors.

    Parameters:
        begin: what each is given.
        needs: resource, as Ray names it -> how much of it an actor takes.
        workers: how many at once; None takes as many as the cluster has room for meanwhile.
    """

    def __init__(self, begin: Begin, needs: Mapping[str, float], workers: int | None) -> None:
        self._begin, self._needs, self._workers = begin, needs, workers
        self._answers: queue.Queue[tuple[Worker, Answer]] = queue.Queue()
        self._hired: list[RayWorker] = []
        self._room, self._looked = 1, -NODES_CHANGE

    def refuse_what_never_fits(self) -> None:
        """Raises a ParameterError if no node of the cluster has what one actor takes."""
        nodes = _nodes()
        if not any(self._fits(node) for node in nodes):
            have = "; ".join(
                _amounts({kind: node.get(kind, 0) for kind in KINDS}) for node in nodes
            )
            raise ParameterError(
                f"No node of the Ray cluster has room for a worker, which takes "
                f"{_amounts(self._needs)}: its nodes have {have or 'nothing'}. Add a node that "
                "has, or ask for less: --device cpu, more --per-device, --workers other than 1."
            )

    def room(self) -> int:
        """How many actors are wanted, or how many the nodes have room for now; at least 1."""
        if self._workers is not None:
            return self._workers
        if time.monotonic() - self._looked >= NODES_CHANGE:
            self._looked = time.monotonic()
            self._room = max(1, sum(map(self._fits, _nodes())))
        return self._room

    def hire(self, number: int) -> "RayWorker":
        """A fresh actor, as soon as there is room for it."""
        self._hired = [worker for worker in self._hired if worker.is_hired]
        self._hired.append(RayWorker(self._begin, self._needs, self._answers))
        return self._hired[-1]

    def waits_for(self) -> str:
        """The resources of actors that no node has taken yet."""
        import ray

        waiting = sum(worker.is_hired and not worker.is_placed for worker in self._hired)
        if not waiting:
            return ""
        whole, free = ray.cluster_resources(), ray.available_resources()
        have, left = ({kind: of.get(kind, 0) for kind in KINDS} for of in (whole, free))
        return (
            f"{in_words(waiting)} of {len(self._hired)} cannot begin yet: each takes "
            f"{_amounts(self._needs)}; the Ray cluster has {_amounts(have)}, and "
            f"{_amounts(left)} of it free."
        )

    def _fits(self, node: Mapping[str, float]) -> int:
        """How many actors a node has room for."""
        return min(int(node.get(kind, 0) / need + 1e-6) for kind, need in self._needs.items())

    def next(self, seconds: float) -> tuple[Worker, Answer] | None:
        """What some worker says, or None if in so many seconds none says anything."""
        try:
            return self._answers.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None


class RayWorker:
    """An actor, and a thread of this process that hears what it says.

    Attributes:
        is_hired: whether it was not dismissed.
        is_placed: whether a node has taken it.
    """

    def __init__(
        self,
        begin: Begin,
        needs: Mapping[str, float],
        answers: "queue.Queue[tuple[Worker, Answer]]",
    ) -> None:
        import ray

        actor = ray.remote(max_restarts=0, max_task_retries=0)(_Actor)
        search_path = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._actor: Any = actor.options(
            num_cpus=needs.get("CPU", 0),
            num_gpus=needs.get("GPU", 0),
            runtime_env={"env_vars": search_path},
        ).remote(*begin)
        self.is_hired, self.is_placed = True, False
        self._answers = answers
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        threading.Thread(target=self._hear, daemon=True).start()

    def give(self, job: Job) -> None:
        """Hands a job out."""
        self._jobs.put(job)

    def dismiss(self) -> None:
        """Ends the actor at once."""
        import ray

        self.is_hired = False
        self._jobs.put(None)
        with suppress(Exception):  # of one that has ended, or a cluster that has
            ray.kill(self._actor, no_restart=True)

    def _hear(self) -> None:
        """Hands on what the actor says to one job after the other, and how it ends."""
        import ray

        has_run = False
        job: Job | None = None
        try:
            ray.get(self._actor.__ray_ready__.remote())
            self.is_placed = True
            while True:
                for reference in self._actor.do.remote(job):
                    answer = ray.get(reference)
                    has_run = True
                    self._answers.put((self, answer))
                job = self._jobs.get()
                if job is None:
                    return
        except Exception as error:  # of Ray, however it came about
            lost = not has_run or "node" in type(error).__name__.lower() or _node_died(error)
            self._answers.put((self, Died(f"died ({in_one_line(error)[:200]})", at_fault=not lost)))


KINDS = ("CPU", "GPU")  # of resources that are told of


def _nodes() -> list[Mapping[str, float]]:
    """The resources of each node that is alive."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _amounts(resources: Mapping[str, float]) -> str:
    """`2 CPU and 0.5 GPU`."""
    return " and ".join(f"{amount:g} {kind}" for kind, amount in resources.items())


def _node_died(error: Exception) -> bool:
    text = str(error).lower()
    return "node has died" in text or "node was terminated" in text or "node died" in text


class _Actor:
    """A worker on its node. All that it computes runs in one thread of it."""

    def __init__(
        self, rebuild: Callable[[str], Plan], arguments: str, identity: str, threads: int
    ) -> None:
        self._begin: Begin = (rebuild, arguments, identity, threads)
        self._jobs: queue.Queue[Job] = queue.Queue()
        self._answers: queue.Queue[Answer] = queue.Queue()
        threading.Thread(target=self._work, daemon=True).start()

    def do(self, job: Job | None) -> Iterator[Answer]:
        """Does a job, or, without one, gets ready; what comes of it, as it comes."""
        if job is not None:
            self._jobs.put(job)
        while True:
            answer = self._answers.get()
            yield answer
            if isinstance(answer, Ready | Done | Refused):
                return

    def _work(self) -> None:
        try:
            self._serve()
        except InterpBenchError as error:
            self._answers.put(Refused(said(error)))
        except Exception as error:
            reason = f"The process that runs the cells failed: {in_one_line(error)}."
            self._answers.put(Refused(reason))

    def _serve(self) -> None:
        rebuild, arguments, identity, threads = self._begin
        torch.set_num_threads(threads)
        run = Identity.model_validate_json(identity)
        serve(rebuild(arguments), run, self._jobs.get, self._answers.put)
