"""The global switches of torch that a plugin may flip, and putting them back."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _device

Switch = tuple[Callable[[], Any], Callable[[Any], Any]]


def _flag(owner: Any, name: str) -> Switch:
    return (lambda: getattr(owner, name)), (lambda value: setattr(owner, name, value))


def _backend_flag(read: str, write: str) -> Switch:
    """One that is set through torch's own functions, since its attribute may be frozen."""
    return getattr(torch._C, read), getattr(torch._C, write)


def _autocast(kind: str) -> Switch:
    def write(state: tuple[bool, torch.dtype]) -> None:
        torch.set_autocast_enabled(kind, state[0])
        torch.set_autocast_dtype(kind, state[1])

    return (
        lambda: (torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)),
        write,
    )


_inference_modes: list[
    Any
] = []  # that were entered to undo one; torch ends a mode that nobody holds


def _set_inference_mode(enabled: bool) -> None:
    mode = torch.inference_mode(enabled)
    mode.__enter__()
    _inference_modes.append(mode)


def _modes_of(kind: str) -> Switch:
    """The modes that torch's functions or operators go through, the outermost first."""
    count = getattr(torch._C, f"_len_torch_{kind}_stack")
    at = getattr(torch._C, f"_get_{kind}_stack_at")
    push = getattr(torch._C, f"_push_on_torch_{kind}_stack")
    pop = getattr(torch._C, f"_pop_torch_{kind}_stack")

    def write(modes: tuple[Any, ...]) -> None:
        while count():
            pop()
        for mode in modes:
            push(mode)

    return (lambda: tuple(at(i) for i in range(count()))), write


def _default_device() -> tuple[Any, Any]:
    """What `torch.set_default_device` and a `with torch.device` leave beside their mode."""
    held = torch._GLOBAL_DEVICE_CONTEXT
    return getattr(held, "device_context", None), _device.CURRENT_DEVICE


def _set_default_device(state: tuple[Any, Any]) -> None:
    torch._GLOBAL_DEVICE_CONTEXT.device_context, _device.CURRENT_DEVICE = state


_SMALLEST = 5e-324  # a denormal number


def _flushes_denormals() -> bool:
    return _SMALLEST * 1.0 == 0


# name -> (read, write), put back in this order.
SWITCHES: dict[str, Switch] = {
    "inference mode": (torch.is_inference_mode_enabled, _set_inference_mode),
    "grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "modes of functions": _modes_of("function"),
    "default device": (_default_device, _set_default_device),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "number of threads": (torch.get_num_threads, torch.set_num_threads),
    "anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "filling of fresh memory": _flag(torch.utils.deterministic, "fill_uninitialized_memory"),
    "autocast on the CPU": _autocast("cpu"),
    "autocast on the GPU": _autocast("cuda"),
    "autocast's cache": (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    "mkldnn": _backend_flag("_get_mkldnn_enabled", "_set_mkldnn_enabled"),
    "mkldnn.deterministic": _backend_flag("_get_mkldnn_deterministic", "_set_mkldnn_deterministic"),
    "nnpack": _backend_flag("_get_nnpack_enabled", "_set_nnpack_enabled"),
    "cudnn.enabled": _backend_flag("_get_cudnn_enabled", "_set_cudnn_enabled"),
    "cudnn.benchmark": _backend_flag("_get_cudnn_benchmark", "_set_cudnn_benchmark"),
    "cudnn.deterministic": _backend_flag("_get_cudnn_deterministic", "_set_cudnn_deterministic"),
    "matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "TF32 of cudnn": _backend_flag("_get_cudnn_allow_tf32", "_set_cudnn_allow_tf32"),
    "TF32 of matrix products": _backend_flag("_get_cublas_allow_tf32", "_set_cublas_allow_tf32"),
    "sums in half precision": _flag(
        torch.backends.cuda.matmul, "allow_fp16_reduced_precision_reduction"
    ),
    "sums in bfloat16": _flag(torch.backends.cuda.matmul, "allow_bf16_reduced_precision_reduction"),
    "flash attention": (
        torch.backends.cuda.flash_sdp_enabled,
        torch.backends.cuda.enable_flash_sdp,
    ),
    "attention by plain sums": (
        torch.backends.cuda.math_sdp_enabled,
        torch.backends.cuda.enable_math_sdp,
    ),
    "attention that saves memory": (
        torch.backends.cuda.mem_efficient_sdp_enabled,
        torch.backends.cuda.enable_mem_efficient_sdp,
    ),
    "denormal numbers": (_flushes_denormals, torch.set_flush_denormal),
}
