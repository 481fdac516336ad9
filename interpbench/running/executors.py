"""Where a run's cells run: in this process, in workers on this machine, or on a Ray cluster."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from interpbench.core.errors import ParameterError, unknown_name
from interpbench.running.execute import Executor
from interpbench.running.local_pool import in_workers
from interpbench.running.plan import Plan
from interpbench.running.ray_pool import Cluster, on_ray

# Arguments of `interpbench.run` that say where and how it runs, but not what.
NOT_OF_THE_PLAN = (
    "listener",
    "progress",
    "plots",
    "profile",
    "isolation",
    "per_device",
    "timeout",
    "overwrite",
)
MOST_WORKERS = 1024


@dataclass(frozen=True)
class Whereabouts:
    """What a user says of where cells run.

    Attributes:
        executor: `ray`, `ray:ADDRESS`, or None for this machine.
        isolation: `none` for this process, `cell` for processes of their own.
        workers: how many of these.
        per_device: workers that share a GPU of a cluster.
        timeout: seconds that a block of a cell may take.
    """

    executor: str | None = None
    isolation: str | None = None
    workers: int | None = None
    per_device: float = 1
    timeout: float | None = None

    @property
    def is_here(self) -> bool:
        """Whether it is this process."""
        return (
            self.isolation != "cell" and (self.executor, self.workers, self.timeout) == (None,) * 3
        )

    def refuse_what_cannot_be(self) -> None:
        """Raises a ParameterError, or an UnknownNameError, if something is not as it should be."""
        if self.isolation not in (None, "none", "cell"):
            raise unknown_name("isolation", self.isolation, ["none", "cell"])
        if self.executor is not None and self.executor.partition(":")[0] != "ray":
            raise unknown_name("executor", self.executor, ["ray"])
        if self.timeout is not None and not 0 < self.timeout < float("inf"):
            raise ParameterError(f"timeout={self.timeout}: expected a number of seconds above 0.")
        if self.workers is not None and not 1 <= self.workers <= MOST_WORKERS:
            raise ParameterError(
                f"workers={self.workers}: expected a number from 1 to {MOST_WORKERS}."
            )
        if not 0 < self.per_device <= MOST_WORKERS:
            raise ParameterError(
                f"per_device={self.per_device}: expected how many workers share a GPU, above 0."
            )
        if self.isolation == "none" and self.timeout is not None:
            raise ParameterError(
                "A cell that takes too long can be ended only in a process of its own: leave "
                "isolation=none out, or timeout."
            )
        if self.isolation == "none" and not self.is_here:
            what = "workers" if self.executor is None else "executor"
            raise ParameterError(
                f"Workers are processes of their own: leave isolation=none out, or {what}."
            )


def executor_of(
    where: Whereabouts,
    arguments: Mapping[str, object],
    rebuild: Callable[[str], Plan],
    *,
    profile: bool,
) -> Executor | None:
    """Where the cells run; None is this process.

    Parameters:
        where: as the user says.
        arguments: of `interpbench.run`.
        rebuild: makes the plan of them, as a literal, in another process.
        profile: whether a profile is taken.

    Raises:
        ParameterError: if what is asked for cannot run there.
    """
    where.refuse_what_cannot_be()
    if where.is_here:
        return None
    if profile:
        raise ParameterError("A profile is taken of this process: use isolation=none for it.")
    texts = {
        name: _literal(name, value)
        for name, value in arguments.items()
        if name not in NOT_OF_THE_PLAN
    }
    literal = "{" + ", ".join(f"{name!r}: {text}" for name, text in texts.items()) + "}"
    if where.executor is None:
        return in_workers(literal, where.workers or 1, where.timeout)
    cluster = Cluster(where.executor.partition(":")[2], where.workers, where.per_device)
    return on_ray(cluster, rebuild, literal, where.timeout)


def _literal(name: str, value: object) -> str:
    """An argument as text that another process understands.

    Raises:
        ParameterError: if it is in memory alone.
    """
    several = value if isinstance(value, list | tuple) else [value]
    plain = [str(item) if isinstance(item, Path) else item for item in several]
    text = repr(type(value)(plain) if isinstance(value, list | tuple) else plain[0])
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ParameterError(
            f"isolation=cell runs cells in another process, to which {name}= cannot be sent: it is "
            "in memory alone. Name a plugin's file instead, or use isolation=none and no timeout."
        ) from None
    return text
