"""Methods beside their references, for the same model and images."""

import copy
import warnings

import torch
from torch import Tensor, nn

from interpbench.core.errors import MethodError
from interpbench.core.seeding import derive
from interpbench.core.types import Model
from interpbench.diagnosis.examination import examine
from interpbench.diagnosis.repair import repair
from interpbench.registry.plugin import Configured, MethodReference, ReferencePlugin
from interpbench.registry.registry import Registry
from interpbench.studies.conformance.comparing import Case
from interpbench.studies.conformance.models_on_noise import ModelOnNoise


class MethodCase(Case):
    """A model and images that methods and their references explain.

    The deviation is the greatest difference as a share of the reference's greatest value, for each
    image, and then the greatest of the images.

    Parameters:
        registry: knows the methods.
        subject: what is explained.
    """

    def __init__(self, registry: Registry, subject: ModelOnNoise) -> None:
        self._registry = registry
        self._subject = subject
        self.label = subject.label
        self.columns = {"model": subject.label}
        self.images = len(subject.x)

    def theirs(self, reference: ReferencePlugin) -> Tensor:
        """The reference's maps, float64 [B,h,w]."""
        assert isinstance(reference, MethodReference)
        model = _model_for(reference, self._model(reference), self._subject.x)
        return self._maps(reference.configure(), reference.ours, model)

    def ours(self, reference: ReferencePlugin) -> Tensor:
        """The method's maps, float64 [B,h,w]."""
        values = reference.configure().values
        method = self._registry.configure("method", reference.ours, values)
        return self._maps(method, reference.ours, self._model(reference))

    def deviation(self, reference: ReferencePlugin, ours: Tensor, theirs: Tensor) -> float:
        """As `deviation_of_maps`."""
        return deviation_of_maps(ours, theirs)

    def _model(self, reference: ReferencePlugin) -> Model:
        """A copy of the model as both explain it."""
        assert isinstance(reference, MethodReference)
        model = copy.deepcopy(self._subject.model)
        return model if reference.on is None else reference.on(model)

    def _maps(self, method: Configured, name: str, model: Model) -> Tensor:
        """What a method or a reference gives, with the same chance for both."""
        subject = self._subject
        seeds = [derive(subject.seed, "conformance", name, image) for image in range(self.images)]
        provided = {
            "generators": [torch.Generator().manual_seed(seed) for seed in seeds],
            "ids": tuple(map(str, range(self.images))),
        }
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            torch.manual_seed(seeds[0])
            warnings.simplefilter("ignore")  # of hooks that are set, and of what will change
            maps: Tensor = method(model, subject.x.clone(), subject.target.clone(), **provided)
        return maps.detach().double()


def _model_for(reference: MethodReference, model: Model, x: Tensor) -> Model:
    """A copy of the model, as the library needs it.

    Raises:
        MethodError: if the library knows nothing of an activation that the model has.
    """
    if reference.relu_alone and any(isinstance(module, nn.Hardtanh) for module in model.modules()):
        raise MethodError(
            f"{reference.library} has a rule for nn.ReLU alone, and this model has ReLU6"
        )
    if not reference.own_activations:
        return model
    single = copy.deepcopy(model).float()
    mended, _, _ = repair(single, examine(single, x.float()), x.float())
    return copy.deepcopy(mended).double()


def deviation_of_maps(ours: Tensor, theirs: Tensor) -> float:
    """The greatest |ours - theirs| / greatest |theirs| of the images of [B,h,w].

    Infinite where a map of theirs is zero and ours is not; NaN where one is not finite.

    Raises:
        ValueError: if the two have different shapes.
    """
    if ours.shape != theirs.shape:
        raise ValueError(
            f"its maps are {list(ours.shape)}, those of the reference {list(theirs.shape)}"
        )
    scale = theirs.abs().flatten(1).amax(1)
    difference = (ours - theirs).abs().flatten(1).amax(1)
    shares = torch.where((scale == 0) & (difference == 0), 0.0, difference / scale)
    return float(shares.max())
