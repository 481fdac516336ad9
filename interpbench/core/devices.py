"""Devices, precisions and batch sizes: what the user may ask for, and what `auto` means."""

import ctypes
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import torch

from interpbench.core.errors import DeviceError, ParameterError, unknown_name
from interpbench.core.text import shown, whole_number

MOST_IMAGES = 2**20  # of a forward pass
BLOCK_SIZE = 256  # images whose maps and curves fit into memory, and whose files are few

PRECISIONS = ("fp32", "bf16", "fp16", "auto")
Compile = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class Computing:
    """Where and how forward passes are computed.

    Attributes:
        device: where.
        others: where further workers compute, one each.
        mix_devices: whether devices of another kind may have a part in the run.
        precision: of the passes that are scored: `fp32`, `bf16` or `fp16`.
        map_precision: likewise, of the passes of methods that do no more than call the model.
        batch_size: images a forward pass, or None where that is to be found out.
        compile: whether the scoring copy of a model is compiled: `auto` where it pays, `always` or
            `never`.
        block_size: about so many images are computed and kept before the next are decoded: the unit
            of loss and of memory.
    """

    device: torch.device = torch.device("cpu")
    precision: str = "fp32"
    batch_size: int | None = None
    compile: Compile = "auto"
    block_size: int = BLOCK_SIZE
    others: tuple[torch.device, ...] = ()
    mix_devices: bool = False
    map_precision: str = "fp32"

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """The first, and the others."""
        return self.device, *self.others

    @classmethod
    def of(
        cls,
        device: str = "auto",
        precision: str = "fp32",
        batch_size: int | None = None,
        compile: str = "auto",
        block_size: int | None = None,
        map_precision: str = "fp32",
    ) -> "Computing":
        """What a user asks for, on this machine.

        Raises:
            UnknownNameError: for a device, a precision or a way of compiling that does not exist.
            DeviceError: if this machine lacks the device.
            ParameterError: for a size out of range.
        """
        for what, number in (("batch", batch_size), ("block", block_size)):
            if number is not None and not 1 <= number <= MOST_IMAGES:
                raise ParameterError(
                    f"A {what} size of {shown(number)}: expected one from 1 to {MOST_IMAGES}."
                )
        where = resolve_device(device)
        return cls(
            where,
            resolve_precision(precision, where),
            batch_size,
            resolve_compile(compile),
            BLOCK_SIZE if block_size is None else block_size,
            map_precision=resolve_precision(map_precision, where),
        )

    def beside(self, others: Sequence[str], *, mix_devices: bool) -> "Computing":
        """The same with workers on further devices.

        Raises:
            UnknownNameError, DeviceError: for one that does not exist, or that this machine lacks.
            ParameterError: if they are of several kinds and that is not allowed, or batches would
                then differ.
        """
        devices = tuple(map(resolve_device, others))
        kinds = sorted({device.type for device in (self.device, *devices)})
        named = " and ".join(kinds)
        if len(kinds) > 1 and not mix_devices:
            raise ParameterError(
                f"Devices of several kinds, {named}, differ in the last digits: name devices of "
                "one kind, or allow it with --mix-devices."
            )
        if len(kinds) > 1 and self.batch_size is None:
            raise ParameterError(
                f"Devices of several kinds, {named}, would take other batches: give --batch-size N."
            )
        return replace(self, others=devices, mix_devices=mix_devices)

    @property
    def detours(self) -> list[str]:
        """What is asked for and this processor can do by detours alone, in words."""
        asked = {self.precision, self.map_precision}
        return [
            f"This processor has no arithmetic in {name}: passes take several times as long as in "
            "float32."
            for name in ("bf16", "fp16")
            if name in asked and self.device.type == "cpu" and not _has_arithmetic(name)
        ]

    def images_a_pass(self, size: int) -> int:
        """How many images of that side a forward pass holds: as asked for, or by the size."""
        return default_batch_size(size, self.device) if self.batch_size is None else self.batch_size


def listed_devices(text: str) -> list[str]:
    """The names in a list such as `cuda:0,cuda:1`, which may hold one."""
    return [name.strip() for name in text.split(",")]


def resolve_device(name: str) -> torch.device:
    """`auto` (the first GPU, else the CPU), `cpu`, `cuda`, `cuda:N` or `mps` as a torch device.

    Raises:
        UnknownNameError: if there is no such kind of device.
        DeviceError: if this machine lacks it.
    """
    if name == "auto":
        name = _best_device()
    kind, colon, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (
        colon and (kind != "cuda" or whole_number(index) is None)
    ):
        raise unknown_name("device", name, ["auto", "cpu", "cuda", "cuda:N", "mps"])
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            f"Device {name!r} is absent: torch sees no CUDA GPU here. Use --device cpu or auto."
        )
    if kind == "cuda" and torch.cuda._is_in_bad_fork():
        raise DeviceError(
            "This process was forked from one that had used CUDA, which does not work here then. "
            "Start it with multiprocessing.get_context('spawn'), or give device='cpu'."
        )
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"Device {name!r} is absent: there are {torch.cuda.device_count()} GPUs, from cuda:0."
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(
            "Device 'mps' is absent: this is no Mac with a GPU that torch can use. "
            "Use --device cpu."
        )
    return torch.device(name)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _has_arithmetic(precision: str) -> bool:
    """Whether this processor computes convolutions in it; where that is unknown, it is believed.

    Without (AVX-512 on an x86), they took 10 to 20 times as long as in float32.
    """
    supported = getattr(torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported", None)
    return supported is None or bool(supported())


def resolve_precision(name: str, device: torch.device) -> str:
    """`fp32`, `bf16` or `fp16`; `auto` is bf16 on a GPU that has it, fp32 elsewhere.

    Raises:
        UnknownNameError: for any other name.
    """
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    if name == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return name


def resolve_compile(name: str) -> Compile:
    """`auto`, `always` or `never`.

    Raises:
        UnknownNameError: for any other name.
    """
    if name not in get_args(Compile):
        raise unknown_name("--compile", name, get_args(Compile))
    return cast(Compile, name)


def default_batch_size(size: int, device: torch.device) -> int:
    """Images a forward pass, from the input's side alone, so that a run is the same each time.

    On a CPU the caches decide (fastest: 4 to 16 images of 224 pixels, 64 to 128 of 32); a GPU wants
    to be filled.
    """
    pixels = size * size
    if device.type == "cpu":
        return max(4, min(128, 2**17 // pixels))
    return max(16, min(1024, 2**24 // pixels))


def describe(device: torch.device) -> str:
    """The device in words, for the record."""
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return f"{device} {platform.machine()} ({torch.get_num_threads()} threads)"


def hardware(device: torch.device) -> str:
    """What kind of thing a device is, the same wherever there is such a one."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.machine()}"


class Stopwatch:
    """Adds up how long a device works at something.

    On a GPU by events in its own queue, so that nobody waits.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within this context it runs."""
        if self._device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            stream = torch.cuda.current_stream(self._device)  # of this device, be it not the first
            start.record(stream)
            yield
            end.record(stream)
            self._events.append((start, end))
            return
        started = time.perf_counter()
        yield
        if self._device.type == "mps":
            torch.mps.synchronize()
        self._seconds += time.perf_counter() - started

    @property
    def seconds(self) -> float:
        """What it has measured; waits for the GPU."""
        for start, end in self._events:
            end.synchronize()
            self._seconds += start.elapsed_time(end) / 1000
        self._events.clear()
        return self._seconds


class PeakMemory:
    """The most memory that torch takes of a GPU while something works, besides what it held before.

    Nothing waits for it. A CPU's memory is the process's, most of it for what ran before: it is not
    measured.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._most: int | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within this context it measures."""
        if self._device.type != "cuda":
            yield
            return
        torch.cuda.reset_peak_memory_stats(self._device)
        held = torch.cuda.memory_allocated(self._device)
        yield
        taken = torch.cuda.max_memory_allocated(self._device) - held
        self._most = max(taken, self._most or 0)

    @property
    def bytes(self) -> int | None:
        """The most that was taken; None where it cannot be measured."""
        return self._most


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Full float32 and repeatable kernels on a GPU; nothing changes on a CPU."""
    tf32_was_allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32_was_allowed


@contextmanager
def memory_kept() -> Iterator[None]:
    """Within this context, what is freed on a CPU is kept for what is allocated next.

    Only where the C library is glibc: it gives large blocks back to the system at once, and fresh
    pages for the same maps of the next forward pass take up to a fifth of its time.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_threshold = -1, -3  # the parameters' numbers in malloc.h
    largest = 2**31 - 1
    libc.mallopt(trim_threshold, largest)
    libc.mallopt(mmap_threshold, largest)
    try:
        yield
    finally:  # as glibc itself sets them once a block of 32 MiB was freed
        libc.mallopt(mmap_threshold, 2**25)
        libc.mallopt(trim_threshold, 2**26)
        libc.malloc_trim(0)
