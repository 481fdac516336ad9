"""Methods that each do one thing to the process that runs them, and a sound one to run after each.

`FAILS`, `UNDONE` and `KILLS` say what must become of each: its cell fails; its cell stands, for what it did touches no
number and is undone; or the process dies, which it needs one of its own for.
"""

import builtins
import ctypes
import faulthandler
import gc
import json
import logging
import math
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import types
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from interpbench import Model, method

HELD: list[object] = []  # what outlives its cell
FAILS: dict[str, str] = {}  # name -> words of the reason
UNDONE: list[str] = []
KILLS: dict[str, str] = {}
Deed = Callable[[Model, Tensor], object]


@method("sound", gradients=False)
def sound(model: Model, x: Tensor, target: Tensor, *, number: int = 0) -> Tensor:
    """How bright each place is; each number is a cell of its own."""
    return x.sum(1)


def _register(deed: Deed) -> str:
    name = deed.__name__.strip("_").replace("_", "-")

    @method(name, gradients=False)
    def misbehaving(model: Model, x: Tensor, target: Tensor) -> Tensor:
        """Misbehaves."""
        deed(model, x)
        return x.sum(1)

    return name


def fails(reason: str) -> Callable[[Deed], Deed]:
    def decorate(deed: Deed) -> Deed:
        FAILS[_register(deed)] = reason
        return deed

    return decorate


def undone(deed: Deed) -> Deed:
    UNDONE.append(_register(deed))
    return deed


def kills(reason: str) -> Callable[[Deed], Deed]:
    def decorate(deed: Deed) -> Deed:
        KILLS[_register(deed)] = reason
        return deed

    return decorate


# Exceptions of every kind.


class NoException(BaseException):
    pass


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Exits(Exception):
    def __str__(self) -> str:
        sys.exit(0)


@fails("ZeroDivisionError: division by zero")
def divides(model, x):
    return 1 / 0


@fails("NoException: of its own kind")
def base_exception(model, x):
    raise NoException("of its own kind")


@fails("GeneratorExit")
def generator_exit(model, x):
    raise GeneratorExit


@fails("SystemExit: 0")
def exits_well(model, x):
    sys.exit(0)


@fails("SystemExit: os._exit")
def exits_at_once(model, x):
    os._exit(0)


@fails("cannot be read: its __str__ raises RuntimeError")
def unspeakable(model, x):
    raise Unspeakable


@fails("cannot be read: its __str__ raises SystemExit")
def exits_when_asked(model, x):
    raise Exits


@fails(r"RuntimeError: \udc80 alone")
def surrogate(model, x):
    raise RuntimeError("\udc80 alone")


@fails("RuntimeError: nul")
def nul_in_text(model, x):
    raise RuntimeError("nul \0 and \x1b[31m red")


@fails("ValueError: aaaa")
def long_text(model, x):
    raise ValueError("a" * 10_000_000)


@fails("RecursionError")
def recursion(model, x):
    return recursion(model, x)


@fails("MemoryError")
def out_of_memory(model, x):
    raise MemoryError


@fails("ExceptionGroup: several (2 sub-exceptions)")
def group(model, x):
    raise ExceptionGroup("several", [ValueError("a"), KeyError("b")])


@fails("StopIteration")
def stop_iteration(model, x):
    return next(iter(()))


# Functions patched.


def _wrong(*arguments, **named):
    return torch.ones(len(arguments[0]), 4) / 4


@fails("torch.softmax patched")
def patched_softmax(model, x):
    torch.softmax = _wrong


@fails("torch.nn.functional.relu patched")
def patched_relu(model, x):
    F.relu = lambda x, inplace=False: x


@fails("patched")
def patched_by_another(model, x):
    F.relu = F.gelu


@fails("Tensor.softmax patched")
def patched_tensor_method(model, x):
    Tensor.softmax = _wrong


@fails("Tensor.__add__ patched")
def patched_operator(model, x):
    Tensor.__add__ = lambda self, other: self


@fails("Tensor.cpu patched")
def patched_transfer(model, x):
    Tensor.cpu = lambda self: torch.zeros(1)


@fails("Module.__call__ patched")
def patched_call(model, x):
    nn.Module.__call__ = lambda self, x: torch.zeros(len(x), 4)


@fails("AdaptiveAvgPool2d")
def patched_layer(model, x):
    nn.AdaptiveAvgPool2d.extra_repr = lambda self: "patched"
    nn.AdaptiveAvgPool2d.forward = lambda self, x: x[:, :, :2, :2]


@fails("torch.cat patched")
def patched_cat(model, x):
    torch.cat = lambda tensors, dim=0: tensors[0]


@fails("torch.autograd.grad patched")
def patched_grad(model, x):
    torch.autograd.grad = lambda *arguments, **named: (torch.zeros(1),)


@fails("numpy.concatenate patched")
def patched_numpy(model, x):
    np.concatenate = None


@fails("sorted patched")
def patched_sorted(model, x):
    builtins.sorted = lambda *arguments, **named: []


@fails("isinstance patched")
def patched_isinstance(model, x):
    builtins.isinstance = lambda value, kind: 1 / 0


@fails("posixpath.join patched" if os.name == "posix" else "join patched")
def patched_paths(model, x):
    os.path.join = lambda *parts: "elsewhere"


@fails("os.replace patched")
def patched_replace(model, x):
    os.replace = lambda *arguments, **named: None


@fails("json.dumps patched")
def patched_json(model, x):
    json.dumps = lambda *arguments, **named: "{}"


@fails("math.sqrt patched")
def patched_math(model, x):
    math.sqrt = lambda value: 0.0


@fails("interpbench.scoring.curves")
def patched_scoring(model, x):
    scoring = sys.modules["interpbench.scoring.curves"]
    scoring.area = lambda values: torch.zeros(len(values))


@fails("CellRecord.complete patched")
def patched_record(model, x):
    sys.modules["interpbench.results.run_info"].CellRecord.complete = None


# Modules taken away.


@undone
def torch_removed(model, x):
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        del sys.modules[name]


@undone
def ourselves_removed(model, x):
    for name in [name for name in sys.modules if name.partition(".")[0] == "interpbench"]:
        del sys.modules[name]


@undone
def numpy_replaced(model, x):
    sys.modules["numpy"] = types.ModuleType("numpy")


@undone
def all_removed(model, x):
    sys.modules.clear()


# Files left open.


@fails("files left open")
def leaks_files(model, x):
    HELD.extend(open(__file__) for _ in range(100))  # noqa: SIM115


@fails("files left open")
def leaks_descriptors(model, x):
    for _ in range(100):
        os.open(__file__, os.O_RDONLY)


@fails("Too many open files")
def leaks_all(model, x):
    while True:
        HELD.append(socket.socket())


# Around the guard: nothing that is called sees it.


@fails("changed the model's weights behind its back")
def weights(model, x):
    next(model.parameters()).data.mul_(2)


@fails("mkldnn")
def when_it_is_over(model, x):
    """Flips switches when its map is scored."""
    take = Tensor.isfinite

    def later(self):
        Tensor.isfinite = take
        torch.set_default_dtype(torch.float64)
        torch._C._set_mkldnn_enabled(False)
        return take(self)

    Tensor.isfinite = later


# Switches, which are undone at once.


@undone
def autocast(model, x):
    torch.set_autocast_enabled("cpu", True)


@undone
def autocast_entered(model, x):
    context = torch.autocast("cpu", torch.bfloat16)
    context.__enter__()
    HELD.append(context)


@undone
def mkldnn_off(model, x):
    torch._C._set_mkldnn_enabled(False)


@undone
def default_device(model, x):
    torch.set_default_device("meta")


@undone
def device_entered(model, x):
    torch.device("meta").__enter__()


@undone
def default_dtype(model, x):
    torch.set_default_dtype(torch.float64)


@undone
def no_grad(model, x):
    torch.set_grad_enabled(False)


@undone
def inference_mode(model, x):
    mode = torch.inference_mode()
    mode.__enter__()
    HELD.append(mode)


@undone
def threads(model, x):
    torch.set_num_threads(2)


@undone
def deterministic(model, x):
    torch.use_deterministic_algorithms(True)


@undone
def denormals(model, x):
    torch.set_flush_denormal(True)


@undone
def reduced_precision(model, x):
    torch.set_float32_matmul_precision("medium")


@undone
def anomaly(model, x):
    torch.autograd.set_detect_anomaly(True)


@undone
def random_state(model, x):
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@undone
def warnings_are_errors(model, x):
    warnings.simplefilter("error")


@undone
def numpy_raises(model, x):
    np.seterr(all="raise")


@undone
def other_folder(model, x):
    os.chdir(tempfile.gettempdir())


@undone
def environment_cleared(model, x):
    os.environ.clear()


@undone
def silent_output(model, x):
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115


@undone
def few_frames(model, x):
    sys.setrecursionlimit(150)


@undone
def no_garbage_collection(model, x):
    gc.disable()


@undone
def signals_ignored(model, x):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@undone
def alarm(model, x):
    signal.setitimer(signal.ITIMER_REAL, 3600)


@undone
def no_rights(model, x):
    os.umask(0o777)


@undone
def no_logging(model, x):
    logging.disable()


@undone
def traced(model, x):
    sys.settrace(lambda *arguments: None)


# The process dies, or never answers.


@kills("SIGSEGV")
def segfault(model, x):
    faulthandler.disable()
    ctypes.string_at(0)


@kills("SIGABRT")
def abort(model, x):
    os.abort()


@kills("SIGKILL")
def killed(model, x):
    os.kill(os.getpid(), signal.SIGKILL)


@kills("SIGTERM")
def terminated(model, x):
    os.kill(os.getpid(), signal.SIGTERM)


@kills("exit code 0")
def exits_below_python(model, x):
    ctypes.CDLL(None)._exit(0)


@kills("SIGALRM")
def rings(model, x):
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(60)


@kills("more than")
def hangs(model, x):
    time.sleep(3600)


@kills("more than")
def hangs_locked(model, x):
    lock = threading.Lock()
    lock.acquire()
    while True:
        try:
            lock.acquire()
        except BaseException:
            continue


@kills("more than")
def stopped(model, x):
    os.kill(os.getpid(), signal.SIGSTOP)


@kills("")
def closes_everything(model, x):
    os.closerange(0, 256)


@kills("cannot be brought back")
def overrides_an_operator(model, x):
    library = torch.library.Library("aten", "IMPL")
    library.impl("relu", lambda x: x * 0, "CPU")
    HELD.append(library)
