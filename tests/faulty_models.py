"""One small network, written properly and with planted faults; all have the same layers by the same names."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES, SIZE, LAYER = 5, 12, "conv2"


class Sound(nn.Module):
    """Two convolutions, the second with a shortcut, and a linear layer: each activation a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6 * 9, CLASSES)
        self.relu1, self.relu2, self.relu3 = (nn.ReLU() for _ in range(3))
        self.pool = nn.MaxPool2d(2)

    def features(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu1(self.conv1(x)))
        return self.relu3(x + self.relu2(self.conv2(x)) - 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.avg_pool2d(self.features(x), 2).flatten(1))


class InPlace(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.relu1, self.relu2, self.relu3 = (nn.ReLU(inplace=True) for _ in range(3))


class Functional(Sound):
    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return torch.relu(x + self.conv2(x).relu() - 0.5)


class FunctionalInPlace(Sound):
    """As a statement, too, whose result nobody takes."""

    def features(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        F.relu_(x)
        x = self.pool(x)
        return F.relu(x + self.conv2(x).relu_() - 0.5, inplace=True)


class Reused(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        del self.relu1, self.relu2, self.relu3

    def features(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(x)))
        return self.relu(x + self.relu(self.conv2(x)) - 0.5)


class SharedInstance(Sound):
    """One ReLU by three names."""

    def __init__(self) -> None:
        super().__init__()
        self.relu1 = self.relu2 = self.relu3 = nn.ReLU()


class Alias(Sound):
    """A shortcut that means what the in-place ReLU made of it: another network without `inplace`."""

    def __init__(self) -> None:
        super().__init__()
        self.relu2 = nn.ReLU(inplace=True)

    def features(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv1(x))
        return self.relu3(x + self.conv2(self.relu2(x)))


class Normed(Sound):
    """Batch norm, which stays in train mode whatever it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(6)
        self.dropout = nn.Dropout(0.5)

    def train(self, mode: bool = True) -> "Normed":
        super().train(mode)
        self.norm.train()
        self.dropout.train()
        return self

    def features(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(super().features(x)))


class ForgottenDropout(Sound):
    """`F.dropout` is on unless it is told otherwise."""

    def features(self, x: Tensor) -> Tensor:
        return F.dropout(super().features(x))


class Noisy(Sound):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x + torch.randn_like(x))


class InBatch(Sound):
    """Subtracts what the images of the batch have in common."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits - logits.mean(0)


class PairsOnly(Sound):
    """Cannot take one image."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1:
            raise ValueError("give me two")
        return super().forward(x)


class Counting(Sound):
    """Writes down how often it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


class HiddenInAList(Sound):
    """The last convolution is kept where torch does not look."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [self.conv1, self.conv2]
        del self.conv2

    def features(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu1(self.conv1(x)))
        return self.relu3(x + self.relu2(self.blocks[1](x)) - 0.5)


class HiddenInALambda(Sound):
    def __init__(self) -> None:
        super().__init__()
        conv2 = self.conv2
        self.second = lambda x: conv2(x)
        del self.conv2

    def features(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu1(self.conv1(x)))
        return self.relu3(x + self.relu2(self.second(x)) - 0.5)


class DeadLayer(Sound):
    """Has a layer that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.old = nn.Conv2d(6, 6, 3)


class TwiceCalled(Sound):
    """The same convolution twice."""

    def features(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu1(self.conv1(x)))
        return self.relu3(self.conv2(self.relu2(self.conv2(x))))


class PooledTwice(nn.Module):
    """The network of many a tutorial: one pooling and functional ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(6 * 9, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        return self.fc(x.view(len(x), -1))


class SharedBlock(nn.Module):
    """A whole block is called twice, with the activation in it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.block(self.block(self.conv2(x))).mean((2, 3)))


class Overwriting(Sound):
    """Adds to the CAM layer's output in place."""

    def features(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu1(self.conv1(x)))
        maps = self.conv2(x)
        F.relu(maps, inplace=True)
        return self.relu3(x + maps - 0.5)


class OverwritesTheImage(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.1))


class Softmax(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class LogSoftmax(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).log_softmax(1)


class Maps(Sound):
    """Forgets to pool and classify."""

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


class Dictionary(Sound):
    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"logits": super().forward(x)}


class NotANumber(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 0 * 0


class Ignoring(Sound):
    """Answers without looking."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc.bias.expand(len(x), -1)


class Detached(Sound):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x).detach()


class WithoutGrad(Sound):
    def features(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().features(x)


class Inference(Sound):
    """Serves, and knows no gradients."""

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Once(Sound):
    """Answers one call only."""

    called = False

    def forward(self, x: Tensor) -> Tensor:
        if Once.called:
            raise RuntimeError("not again")
        Once.called = True
        return super().forward(x)


class Uncopyable(InPlace):
    """Keeps a tensor that is no leaf, which Python cannot copy."""

    def __init__(self) -> None:
        super().__init__()
        self.scaled = self.conv1.weight * 2


class Rounding(Sound):
    def forward(self, x: Tensor) -> Tensor:
        return torch.round(super().forward(x) * 100)


class HalfDetached(Sound):
    """The gradient takes the shortcut alone."""

    def features(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu1(self.conv1(x)))
        return self.relu3(x + self.relu2(self.conv2(x)).detach() - 0.5)


class DetachedAside(Sound):
    """Detaches what the logits do not depend on: nothing wrong with it."""

    def features(self, x: Tensor) -> Tensor:
        found = super().features(x)
        self.mean_activation = found.detach().mean()
        return found


class NoGradInside(Sound):
    """torch.fx does not see `no_grad`: without it these are other gradients."""

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        with torch.no_grad():
            side = self.conv2(x)
        return self.relu3(x + side)


class Choosy(nn.Module):
    """A block that is told what to do by its arguments, and adds a shortcut if it is given one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)

    def forward(
        self, x: Tensor, kind: str, shortcut: Tensor | None = None, gain: float = 1.0
    ) -> Tensor:
        if kind == "relu":
            x = torch.relu(gain * self.conv2(x))
        return x if shortcut is None else torch.relu(x + shortcut)


class Told(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.blocks = nn.ModuleList([Choosy(), Choosy()])
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        y = self.blocks[0](x, "relu")
        y = self.blocks[1](y, kind="relu", shortcut=x, gain=0.7)
        return self.fc(y.mean((2, 3)))


class ValueDependent(Sound):
    """Control flow that torch.fx cannot trace."""

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return x if float(x.detach().mean()) > 1e9 else self.relu3(x + self.conv2(x))


class Failing(Sound):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no luck today")


class Cramped(Sound):
    def forward(self, x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")
