"""A small network with all that a layer can be, and one without a layer."""

from torch import Tensor, nn


class Odd(nn.Linear):
    """A linear layer whose `reset_parameters` does what the test wants."""

    def __init__(self, features: int, value: str | None) -> None:
        super().__init__(features, features)
        self.value = value

    def reset_parameters(self) -> None:
        if not hasattr(self, "value"):  # while it is built
            nn.init.eye_(self.weight)
            nn.init.zeros_(self.bias)
        elif self.value != "keep":
            nn.init.constant_(self.weight, float(self.value))
            nn.init.constant_(self.bias, float(self.value))


def small(classes: int, odd: str = "keep") -> nn.Module:
    """Two convolutions, the first with a batch norm, and two linear layers, one of them odd."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        Odd(24, odd),
        nn.Linear(24, classes),
    )


def rigid() -> nn.Module:
    """Has no parameters at all."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Unflatten(1, (3, 4)), Channel())


class Channel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]
