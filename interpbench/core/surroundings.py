"""What the caller has set of torch, put aside while a job runs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def as_torch_comes(*, one_thread: bool = False) -> Iterator[None]:
    """Within this context torch is as it comes, and afterwards as the caller had set it.

    Gradients are computed and inference mode is off, autocast is off, the default type is float32,
    and tensors are made on the CPU unless a device is named.

    Parameters:
        one_thread: whether torch computes in one thread.
    """
    default_type, threads = torch.get_default_dtype(), torch.get_num_threads()
    with ExitStack() as aside:
        aside.enter_context(torch.inference_mode(False))
        aside.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                aside.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            aside.enter_context(torch.device("cpu"))
        torch.set_default_dtype(torch.float32)
        if one_thread:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_default_dtype(default_type)
            if one_thread:
                torch.set_num_threads(threads)
