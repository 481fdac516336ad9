"""ONNX files as black boxes, through onnxruntime."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator
from torch import Tensor, nn

from interpbench import ParameterError, Pretrained, WeightsError, model


class OnnxNetwork(nn.Module):
    """A file's graph as a module: on the CPU, and without gradients.

    Attributes:
        size: side in pixels of the input, or None if the file takes any.
        batch: images that one call takes, or None if the file takes any number.

    Raises:
        WeightsError: if it is no ONNX file, or does not take images [B,3,H,W] of float32.
        ParameterError: if onnxruntime is not installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.session = _session(path)
        inputs = self.session.get_inputs()
        shape = inputs[0].shape
        whole = [n if isinstance(n, int) else None for n in shape]  # the others are names of what may vary
        images = len(shape) == 4 and whole[1] in (3, None) and whole[2] == whole[3]
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not images:
            found = "; ".join(f"{i.name}: {i.type} {i.shape}" for i in inputs)
            raise WeightsError(f"{path} must take square images [B,3,S,S] of float32 and nothing else, not {found}.")
        self.batch, self.size = whole[0], whole[2]

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B,classes] of x [B,3,S,S], on the device of x."""
        parts = [self._run(part) for part in x.detach().float().cpu().split(self.batch or len(x))]
        return torch.cat(parts).to(x.device)

    def _run(self, x: Tensor) -> Tensor:
        missing = (self.batch or len(x)) - len(x)
        full = torch.cat([x, x[-1:].expand(missing, -1, -1, -1)]).contiguous()
        outputs = self.session.run(None, {self.session.get_inputs()[0].name: full.numpy()})
        return torch.from_numpy(outputs[0])[: len(x)]

    def __deepcopy__(self, memo: Any) -> "OnnxNetwork":
        return OnnxNetwork(self.path)


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ParameterError("onnxruntime is not installed: pip install 'interpbench[onnx]'.") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise WeightsError(f"{path} is no ONNX file, or a damaged one ({error}). Export it again.") from None


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("there is no such file")
    return path


def _weights(file: Path) -> Pretrained:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Pretrained(
        source=file.name, size=OnnxNetwork(file).size, sha256=digest, beside=file.with_suffix(".toml")
    )


@model(
    "onnx",
    reference="Open Neural Network Exchange, onnx.ai; onnxruntime, onnxruntime.ai",
    pretrained=_weights,
    gradients=False,
)
def from_onnx(classes: int, size: int, *, file: Annotated[Path, AfterValidator(_existing)]) -> nn.Module:
    """An ONNX file as a black box, such as onnx:models/mine.onnx; methods that need gradients do not apply.

    Needs `pip install 'interpbench[onnx]'`. The first output must be logits. How images become its input
    say flags, a file of its name that ends in .toml, or the data set.

    Args:
        file: takes one input [B,3,S,S], float32.

    Raises:
        WeightsError: if it is no such file, or takes images of another size.
    """
    network = OnnxNetwork(file)
    if network.size not in (size, None):
        raise WeightsError(f"{file} takes images of {network.size} pixels, not of {size}.")
    return network
