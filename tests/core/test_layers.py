"""Layers found by name and by what they do, and outputs read as maps."""

import pytest
import torch
from torch import Tensor, nn

from interpbench.core.errors import MethodError
from interpbench.core.layers import as_maps, find_layer, last_spatial_layer
from interpbench.registry.discovery import discover
from tests.tiny_models import NARROW, Constant, convolutional

REGISTRY = discover()


def images(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


# --- by name


def test_a_negative_number_counts_from_the_last_child() -> None:
    network = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(1, 1), nn.Tanh()))
    assert find_layer(network, "-1.-2") is network[1][0]
    assert find_layer(network, "1.1") is network[1][1]
    for name in ("-3", "-0", "1.-3", "-x", "2"):
        with pytest.raises(AttributeError):
            find_layer(network, name)


# --- outputs as maps


def test_maps_stay_as_they_are() -> None:
    maps = torch.randn(2, 5, 3, 4)
    assert as_maps(maps) is maps


def test_channels_that_come_last_get_to_the_front() -> None:
    maps = torch.randn(2, 3, 3, 5)
    assert torch.equal(as_maps(maps)[1, 4], maps[1, :, :, 4])


@pytest.mark.parametrize("extra", [0, 1, 2, 5])
def test_tokens_take_their_places_in_the_grid(extra: int) -> None:
    tokens = torch.randn(2, extra + 16, 5)
    maps = as_maps(tokens)
    assert maps.shape == (2, 5, 4, 4)
    for row in range(4):
        for column in range(4):
            assert torch.equal(maps[:, :, row, column], tokens[:, extra + 4 * row + column])


@pytest.mark.parametrize(
    "output", [torch.zeros(2, 10), torch.zeros(2, 23, 5), torch.zeros(2, 2, 5)]
)
def test_other_tensors_are_refused(output: Tensor) -> None:
    with pytest.raises(
        MethodError, match=r"the layer gives a tensor \[2, .*expected maps .*Name another layer"
    ):
        as_maps(output)


def test_what_is_no_tensor_is_refused() -> None:
    with pytest.raises(MethodError, match="the layer gives tuple"):
        as_maps((torch.zeros(2, 5, 3, 3),))


@pytest.mark.parametrize("extra", [0, 1, 5])
@pytest.mark.parametrize(("height", "width"), [(4, 6), (6, 4), (2, 7), (1, 3)])
def test_tokens_over_an_image_that_is_not_square_make_its_grid(
    extra: int, height: int, width: int
) -> None:
    tokens = torch.randn(2, extra + height * width, 5)
    maps = as_maps(tokens, (16 * height, 16 * width))
    assert torch.equal(maps.flatten(2), tokens[:, extra:].transpose(1, 2))
    assert maps.shape == (2, 5, height, width)


@pytest.mark.parametrize(("height", "width"), [(8, 12), (7, 12), (58, 90), (2, 3)])
@pytest.mark.parametrize("channels", [32, 64, 320])
def test_channels_of_maps_that_are_not_square_get_to_the_front(
    height: int, width: int, channels: int
) -> None:
    """Maps as strides make them of 64x96 pixels, or three convolutions without padding (58x90)."""
    maps = torch.empty(2, channels, height, width, device="meta")
    assert as_maps(maps, (64, 96)) is maps
    last = as_maps(torch.empty(2, height, width, channels, device="meta"), (64, 96))
    assert last.shape == (2, channels, height, width)


# --- the last layer with more than one position


@pytest.mark.parametrize(
    ("size", "layer"), [((16, 24), "4"), ((24, 16), "4"), ((24, 96), "3")]
)  # of 24x96, 2x2 cells are no map
def test_it_is_found_over_images_that_are_not_square(size: tuple[int, int], layer: str) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    assert last_spatial_layer(convolutional(), x) == layer


NAMED = [
    p.name for p in REGISTRY.plugins("model") if p.target_layer is not None and p.name != "vit_b_16"
]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("size", [32, 64])
def test_it_finds_the_target_layer_that_each_bundled_model_names(name: str, size: int) -> None:
    if name == "efficientnet_lite0":
        size = 64  # of 32 pixels its last map has one position, and another layer is found
    choice = REGISTRY.configure("model", name, NARROW.get(name, {"width": 8}))
    network = choice(10, size).eval().requires_grad_(False)
    named = find_layer(network, choice.plugin.target_layer)
    outputs: list[Tensor] = []
    found = last_spatial_layer(network, images(size))
    assert found is not None
    for layer in (named, network.get_submodule(found)):
        layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    network(images(size))
    assert torch.equal(outputs[0], outputs[1])  # the same module, or a container that ends in it


def test_the_network_is_left_as_it_was() -> None:
    network = convolutional()
    last_spatial_layer(network, images(8))
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


class Attention(nn.Module):
    """Tokens that are pooled as told, after a layer norm and a layer that does nothing."""

    def __init__(self, class_token: bool) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.norm = nn.LayerNorm(8)
        self.attend = nn.MultiheadAttention(8, 1, batch_first=True)
        self.drop = nn.Dropout()
        self.last = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)
        self.class_token = class_token

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.patches(x).flatten(2).transpose(1, 2))
        tokens = self.last(self.drop(self.attend(tokens, tokens, tokens)[0]))
        logits: Tensor = self.head(tokens[:, 0] if self.class_token else tokens.mean(1))
        return logits


def test_of_tokens_it_is_the_last_norm_at_which_they_matter() -> None:
    assert last_spatial_layer(Attention(class_token=True).eval(), images(16)) == "norm"
    assert last_spatial_layer(Attention(class_token=False).eval(), images(16)) == "last"


def test_there_is_none_without_maps_or_without_gradient() -> None:
    assert last_spatial_layer(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), images(8)) is None
    assert last_spatial_layer(Constant([1.0, 2.0]), images(8)) is None


class Branches(nn.Module):
    """Two branches, side by side: the second alone keeps more than one position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pooled = nn.Sequential(nn.Conv2d(channels, 4, 1), nn.AdaptiveMaxPool2d(1))
        self.wide = nn.Sequential(nn.Conv2d(channels, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [self.pooled(x).expand(-1, -1, x.shape[2] - 2, x.shape[3] - 2), self.wide(x)], 1
        )


class InceptionLike(nn.Module):
    """A stem and a module of branches, which make of 2 s + 1 pixels s - 2 positions a side."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU())
        self.mixed = Branches(6)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mixed(self.stem(x)).mean((2, 3)))


class Flat(InceptionLike):
    """The same without a module that holds the concatenation."""

    def forward(self, x: Tensor) -> Tensor:
        x, mixed = self.stem(x), self.mixed
        maps = torch.cat(
            [mixed.pooled(x).expand(-1, -1, x.shape[2] - 2, x.shape[3] - 2), mixed.wide(x)], 1
        )
        return self.head(maps.mean((2, 3)))


class Towers(nn.Module):
    """Two networks side by side, from the image on."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.one(x), self.other(x)], 1).mean((2, 3)))


def test_it_is_never_one_branch_of_a_concatenation() -> None:
    network = InceptionLike().eval()
    assert last_spatial_layer(network, images(13)) == "mixed"
    assert last_spatial_layer(network, images(7)) == "stem"  # the branches end in one position
    assert last_spatial_layer(Flat().eval(), images(13)) == "stem"
    assert last_spatial_layer(Towers().eval(), images(8)) is None


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("inception_v3", 96, "Mixed_6e"),
        ("inception_v3", 128, "Mixed_7c"),
        ("googlenet", 64, "inception5b"),
        ("googlenet", 32, "inception4e"),
        ("squeezenet1_1", 64, "classifier.2"),
        ("densenet121", 32, "features.transition3.conv"),
        ("resnet50", 32, "layer3"),
    ],
)
def test_it_holds_all_branches_of_torchvisions_networks(name: str, size: int, layer: str) -> None:
    network = REGISTRY.configure("model", "torchvision", {"name": name})(3, size)
    assert last_spatial_layer(network.eval(), images(size)) == layer


def test_a_layer_that_is_called_twice_is_taken_only_where_there_is_no_other() -> None:
    class Reused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.one, self.two, self.relu = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.relu(self.two(self.relu(self.one(x)))).mean((2, 3)))

    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.only, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.only(self.only(x)).mean((2, 3)))

    x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    assert last_spatial_layer(Reused().eval(), x) == "two"
    assert last_spatial_layer(Alone().eval(), x) == "only"
