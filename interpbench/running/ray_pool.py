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
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from interpbench.core.errors import InterpBenchError, ParameterError, in_one_line, said
from interpbench.results.run_folder import RunFolder
from interpbench.results.run_info import Identity
from interpbench.running.execute import Executor, Listener
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

    def run(plan: Plan, folder: RunFolder, old: Kept, listener: Listener) -> None:
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
        needs = {"num_cpus": threads, "num_gpus": 1 / cluster.per_device if on_gpu else 0}
        pool = RayPool((rebuild, arguments, identity_of(plan).text(), threads), needs)
        workers = cluster.workers or pool.room()
        Scheduler(pool, workers, timeout, "See the logs of Ray's workers.")(
            plan, folder, old, listener
        )

    return run


# What an actor begins with: what makes its plan, of which arguments, the run's identity as JSON,
# and the threads that it computes in on a CPU.
Begin = tuple[Callable[[str], Plan], str, str, int]


class RayPool:
    """Actors.

    Parameters:
        begin: what each is given.
        needs: resources of an actor, as Ray names them.
    """

    def __init__(self, begin: Begin, needs: dict[str, float]) -> None:
        self._begin, self._needs = begin, needs
        self._answers: queue.Queue[tuple[Worker, Answer]] = queue.Queue()

    def room(self) -> int:
        """How many actors the cluster has room for.

        Raises:
            ParameterError: if for none.
        """
        import ray

        whole = ray.cluster_resources()
        kinds = {"CPU": self._needs["num_cpus"], "GPU": self._needs["num_gpus"]}
        room = min(int(whole.get(kind, 0) / need) for kind, need in kinds.items() if need)
        if not room:
            raise ParameterError(
                f"The Ray cluster has no room for a worker, which needs {kinds}: it has "
                f"{ {kind: whole.get(kind, 0) for kind in kinds} }."
            )
        return room

    def hire(self) -> "RayWorker":
        """A fresh actor, as soon as there is room for it."""
        return RayWorker(self._begin, self._needs, self._answers)

    def next(self, seconds: float) -> tuple[Worker, Answer] | None:
        """What some worker says, or None if in so many seconds none says anything."""
        try:
            return self._answers.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None


class RayWorker:
    """An actor, and a thread of this process that hears what it says."""

    def __init__(
        self,
        begin: Begin,
        needs: dict[str, float],
        answers: "queue.Queue[tuple[Worker, Answer]]",
    ) -> None:
        import ray

        actor = ray.remote(max_restarts=0, max_task_retries=0)(_Actor)
        search_path = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._actor: Any = actor.options(**needs, runtime_env={"env_vars": search_path}).remote(
            *begin
        )
        self._answers = answers
        self._jobs: queue.Queue[Job | None] = queue.Queue()
        threading.Thread(target=self._hear, daemon=True).start()

    def give(self, job: Job) -> None:
        """Hands a job out."""
        self._jobs.put(job)

    def dismiss(self) -> None:
        """Ends the actor at once."""
        import ray

        self._jobs.put(None)
        with suppress(Exception):  # of one that has ended, or a cluster that has
            ray.kill(self._actor, no_restart=True)

    def _hear(self) -> None:
        """Hands on what the actor says to one job after the other, and how it ends."""
        import ray

        has_run = False
        job: Job | None = None
        try:
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
