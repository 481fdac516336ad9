"""Where a run's cells run: in this process, in workers on this machine, or on a Ray cluster."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpbench.core.devices import listed_devices
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
        devices: names of those that workers on this machine compute on, one each, where they are
            several.
    """

    executor: str | None = None
    isolation: str | None = None
    workers: int | None = None
    per_device: float = 1
    timeout: float | None = None
    devices: tuple[str, ...] = ()

    @classmethod
    def of(cls, device: str, **asked: Any) -> "Whereabouts":
        """What is asked for on a device, or on several with commas between their names."""
        devices = listed_devices(device)
        return cls(**asked, devices=tuple(devices) if len(devices) > 1 else ())

    @property
    def processes(self) -> int | None:
        """How many workers are asked for, if any are."""
        return len(self.devices) or self.workers

    @property
    def is_here(self) -> bool:
        """Whether it is this process."""
        return (
            self.isolation != "cell"
            and (self.executor, self.processes, self.timeout) == (None,) * 3
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
        self._refuse_other_numbers_of_devices()
        if self.isolation == "none" and not self.is_here:
            what = "executor" if self.executor else "workers" if self.workers else "a device"
            raise ParameterError(
                f"Workers are processes of their own: leave isolation=none out, or {what}."
            )

    def _refuse_other_numbers_of_devices(self) -> None:
        named = ",".join(self.devices)
        if self.devices and self.executor is not None:
            raise ParameterError(
                f"--device {named} gives workers on this machine a device each; on a Ray cluster "
                "it is Ray that does so. Name the kind alone, such as --device cuda, or leave "
                "--executor out."
            )
        if self.devices and self.workers not in (None, len(self.devices)):
            raise ParameterError(
                f"--device {named} makes {len(self.devices)} workers, one a device, and --workers "
                f"{self.workers} another number: leave --workers out, or name a device for each; "
                "one may be named several times."
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
    if where.executor is None:
        devices = [repr(name) for name in where.devices]
        devices = devices or [texts["device"]] * (where.workers or 1)
        return in_workers([_joined(texts | {"device": name}) for name in devices], where.timeout)
    literal = _joined(texts)
    cluster = Cluster(where.executor.partition(":")[2], where.workers, where.per_device)
    return on_ray(cluster, rebuild, literal, where.timeout)


def _joined(texts: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name!r}: {text}" for name, text in texts.items()) + "}"


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
