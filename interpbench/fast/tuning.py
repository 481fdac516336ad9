"""What is fastest on this machine: images a forward pass, and whether a compiled network pays.

Measured once for a network, an input size and a machine, and remembered, so that the same command
computes in the same way each time: `interpbench/tuning.json` beside torch's own cache (see
`torch.hub.get_dir`). Only for plans so long that the measurement is lost in them; a plan is judged
by what its passes compute, not by a clock.
"""

import hashlib
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from interpbench.core.batch_size import is_out_of_memory
from interpbench.core.devices import Compile, default_batch_size, describe
from interpbench.core.errors import DeviceError
from interpbench.core.memory_format import memory_format_of
from interpbench.fast.scoring_copy import Scorer, compiled
from interpbench.files.atomic import write_text_atomically

# Floating point operations a second: of a CPU's thread, of a GPU.
OPERATIONS = {"cpu": 5e10, "cuda": 2e13}
# Seconds that a plan's passes must be estimated to take: to measure the batch size, and to compile,
# which takes up to a minute and saves from a tenth to a third.
MEASURED_FROM = 60.0
COMPILED_FROM = {"cpu": 300.0, "cuda": 120.0}
GAIN = 1.03  # what is faster by less is not worth another choice
LARGEST = {"cpu": 128, "cuda": 4096}
ROUNDS = 3


@dataclass(frozen=True)
class Tuning:
    """How scores are computed.

    Attributes:
        batch_size: images a forward pass.
        batch_size_from: `given`, `input size`, or `measured`.
        compiled: whether the network is, and what is known of it, in words.
    """

    batch_size: int
    batch_size_from: str
    compiled: str


def tune(
    scorer: Scorer, x: Tensor, passes: int, *, given: int | None = None, wish: Compile = "auto"
) -> Tuning:
    """Chooses the images a forward pass and whether to compile; the scorer is compiled accordingly.

    Parameters:
        scorer: the scoring copy.
        x: float32 [B,C,H,W], real images in the memory format that is scored in.
        passes: images that will be scored.
        given: images a forward pass, where the user says so.
        wish: `always` and `never` compile without asking whether it pays.

    Raises:
        DeviceError: if it is to be compiled always, and cannot be.
    """
    seconds = _seconds(scorer, x[:1], passes)
    memory = _Memory(_key(scorer, x))
    size = given or default_batch_size(round(math.sqrt(x.shape[2] * x.shape[3])), x.device)
    origin = "given" if given else "input size"
    if not given and seconds >= MEASURED_FROM:
        size, origin = memory.recall("batch_size", lambda: _fastest(scorer, x)), "measured"
    pays_from = COMPILED_FROM.get(x.device.type, float("inf"))
    if wish == "never":
        return Tuning(size, origin, "no: not asked for")
    if wish == "auto" and seconds < pays_from:
        why = f"passes of about {seconds:.0f} s; it pays from {pays_from:g} s"
        return Tuning(size, origin, f"no: {why}")
    gain = memory.get(f"gain {size}")
    if wish == "auto" and gain is not None and gain < GAIN:
        why = f"its passes were {gain:.2f} times as fast when they were measured here"
        return Tuning(size, origin, f"no: {why}")
    return Tuning(size, origin, _compile(scorer, _batch(x, size), memory, wish))


def _compile(scorer: Scorer, batch: Tensor, memory: "_Memory", wish: Compile) -> str:
    """Compiles the scorer's network, unless that is no faster; says in words what came of it."""
    plain, started = scorer.network, time.perf_counter()
    why = compiled(scorer, batch)
    seconds = time.perf_counter() - started
    if why and wish == "always":
        raise DeviceError(
            f"Model {scorer.card.name!r} cannot be compiled: {why}. Use --compile auto or never."
        )
    if why:
        return f"no: {why}"
    scored = batch.to(scorer.dtype)
    gain = memory.recall(
        f"gain {len(batch)}", lambda: _time(plain, scored) / _time(scorer.network, scored)
    )
    if wish == "auto" and gain < GAIN:
        scorer.use_faster(plain, fixed_shape=False)
        return f"no: its passes are {gain:.2f} times as fast"
    return f"yes: in {seconds:.1f} s; its passes are {gain:.2f} times as fast"


class _Memory:
    """What was measured on this machine for one key.

    A file that cannot be read or written is no reason to stop.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._path = Path(torch.hub.get_dir()).parent / "interpbench" / "tuning.json"

    def get(self, name: str) -> Any:
        """What is remembered, or None."""
        return self._read().get(self._key, {}).get(name)

    def recall(self, name: str, measure: Callable[[], Any]) -> Any:
        """What is remembered; else it is measured, and remembered from now on."""
        remembered = self.get(name)
        if remembered is not None:
            return remembered
        measured = measure()
        content = self._read()
        # Another process may have been first: then all use what it measured.
        value = content.setdefault(self._key, {}).setdefault(name, measured)
        self._write(content)
        return value

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict):
            return {}
        return content if all(isinstance(entry, dict) for entry in content.values()) else {}

    def _write(self, content: Mapping[str, Any]) -> None:
        with suppress(OSError):
            write_text_atomically(self._path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def _key(scorer: Scorer, x: Tensor) -> str:
    """What a measurement holds for: the layers, the input, the machine and torch's version."""
    shapes = [
        (name, tuple(tensor.shape))
        for name, tensor in scorer.network.state_dict().items()
        if isinstance(tensor, Tensor)  # quantised layers keep other things as well
    ]
    holds_for = [
        repr(scorer.network),
        shapes,
        tuple(x.shape[1:]),
        str(scorer.dtype),
        describe(x.device),
        torch.__version__,
    ]
    return hashlib.sha256(repr(holds_for).encode()).hexdigest()[:16]


def _fastest(scorer: Scorer, x: Tensor) -> int:
    """The images a pass at which an image takes least time.

    Doubled for as long as that gains something.
    """
    best, least = 0, float("inf")
    size = 4
    while size <= LARGEST.get(x.device.type, size):
        try:
            seconds = _time(scorer.network, _batch(x, size).to(scorer.dtype)) / size
        except (RuntimeError, MemoryError) as error:
            if not best or not is_out_of_memory(error):
                raise
            break
        if seconds * GAIN < least:
            best, least = size, seconds
        elif size > 2 * best:
            break
        size *= 2
    return best


def _batch(x: Tensor, size: int) -> Tensor:
    """So many images, of those at hand, in their memory format."""
    return x[torch.arange(size, device=x.device) % len(x)].to(memory_format=memory_format_of(x))


@torch.inference_mode()
def _time(network: Callable[[Tensor], Tensor], batch: Tensor) -> float:
    """Seconds of a pass, the median of a few."""
    seconds = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        network(batch).sum().item()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


@torch.inference_mode()
def _seconds(scorer: Scorer, x: Tensor, passes: int) -> float:
    """About how long so many passes take, by what they compute."""
    try:
        with FlopCounterMode(display=False) as counter:
            scorer(x.to(scorer.dtype))
    except Exception:  # a network that torch cannot look into
        return 0.0
    threads = torch.get_num_threads() if x.device.type == "cpu" else 1
    a_second = threads * OPERATIONS.get(x.device.type, float("inf"))
    return passes * counter.get_total_flops() / a_second
