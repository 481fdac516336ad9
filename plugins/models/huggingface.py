"""Image classifiers of Hugging Face's library transformers by the names that they have on its hub: hf:ORG/NAME."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import torch
from PIL import Image
from pydantic import AfterValidator
from torch import Tensor, nn
from torchvision.transforms import v2

from interpbench import ParameterError, Pretrained, WeightsError, model

INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers
WARPED_FROM = 384  # ConvNeXT's processors crop nothing of images of that size
CLOSE = 2 / 255  # of pixels in 0..1: a processor that computes with tensors rounds some otherwise
UNNAMED = re.compile(r"LABEL_\d+")
WHY = {  # what the library's errors come from, by the names of their classes
    "RepositoryNotFoundError": "there is no such repository, or it is private",
    "GatedRepoError": "its owner wants you to accept terms: do so there, and log in with `hf auth login`",
    "RevisionNotFoundError": "it has no such revision",
    "LocalEntryNotFoundError": "the hub cannot be reached, and it was not downloaded before",
    "OfflineModeIsEnabled": "the hub is not asked (HF_HUB_OFFLINE), and it was not downloaded before",
}


def _place(name: str) -> str:
    if Path(name).is_dir() or re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        return name
    raise ValueError("there is no such folder, and on the hub it would be ORG/NAME")


def _transformers() -> ModuleType:
    try:
        import transformers
    except ImportError:
        raise ParameterError("transformers is not installed: pip install 'interpbench[hf]'.") from None
    return transformers


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """The library without bars and hints; what it raises becomes one sentence."""
    logging = _transformers().utils.logging
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    except (OSError, ValueError, KeyError, ImportError) as error:
        first = str(error).strip().partition("\n")[0][:300].rstrip(".")
        raise WeightsError(
            f"hf:{name} cannot be read: {_why(error) or first}. Check the name, or give a folder that "
            "`save_pretrained` wrote for an image classifier."
        ) from None
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _why(error: BaseException | None) -> str:
    """Why a file could not be had, if one of the causes of an error is known."""
    while error is not None:
        if type(error).__name__ in WHY:
            return WHY[type(error).__name__]
        error = error.__cause__ or error.__context__
    return ""


def _offer(name: str, revision: str) -> Pretrained:
    """What the repository says of its classes, its outputs and its preparation."""
    with _reading(name):
        config = _transformers().AutoConfig.from_pretrained(name, revision=revision)
        processor = _processor(name, revision)
    commit = getattr(config, "_commit_hash", None) or ""
    names = tuple(config.id2label[i] for i in range(config.num_labels))
    return Pretrained(
        source=f"{Path(name).name if Path(name).is_dir() else name}{f'@{commit[:12]}' if commit else ''}",
        classes=() if all(map(UNNAMED.fullmatch, names)) else names,
        outputs=_outputs(name, config),
        **_preparation(processor),
    )


def _processor(name: str, revision: str) -> Any:
    """The repository's, computing with PIL as the suite does; None if it has none."""
    transformers = _transformers()
    try:
        return transformers.AutoImageProcessor.from_pretrained(name, revision=revision, backend="pil")
    except (OSError, ValueError, ImportError):
        return None


def _outputs(name: str, config: Any) -> Any:
    """What its answers are, as transformers' own pipeline reads them."""
    if config.problem_type == "regression":
        raise WeightsError(f"hf:{name} is for regression, not for classes: choose a classifier.")
    if config.num_labels == 1:
        return "binary"
    return "sigmoid" if config.problem_type == "multi_label_classification" else "softmax"


def _preparation(processor: Any) -> dict[str, Any]:
    """What a processor does, as far as it can be stated; nothing if it does something else besides."""
    if processor is None:
        return {}
    stated = {**_framing(processor), **_colours(processor), "crop": "floored"}
    side = stated.get("size")
    if side is None or stated["interpolation"] is None:
        return {}
    longest = 2 * max(side if isinstance(side, int) else max(side), stated["resize"])
    # An image of noise, on which every other size, place, filter and number shows.
    noise = np.random.default_rng(0).integers(0, 256, (longest + 1, longest + 14, 3), np.uint8)
    with torch.no_grad():
        found = processor(Image.fromarray(noise), return_tensors="pt")["pixel_values"][0]
    expected, std = _as_stated(noise, stated), torch.tensor(stated["std"])[:, None, None]
    same = found.shape == expected.shape and bool(((found - expected).abs() <= CLOSE / std).all())
    return stated if same else {}


def _framing(processor: Any) -> dict[str, Any]:
    size, crop = (_sides(getattr(processor, name, None)) for name in ("size", "crop_size"))
    edge, share = size.get("shortest_edge"), getattr(processor, "crop_pct", None)
    resample = getattr(processor, "resample", None)
    stated: dict[str, Any] = {"interpolation": INTERPOLATIONS.get(2 if resample is None else int(resample))}
    crops = bool(getattr(processor, "do_center_crop", False)) and "height" in crop
    if not getattr(processor, "do_resize", True):
        return stated
    if "height" in size:
        return {**stated, "size": (size["height"], size["width"]), "resize": 0}
    if edge and crops:
        return {**stated, "size": (crop["height"], crop["width"]), "resize": edge}
    if edge and share:
        return {**stated, "size": (edge, edge), "resize": int(edge / share) if edge < WARPED_FROM else 0}
    return stated


def _sides(size: Any) -> dict[str, int]:
    """A size of the library's as a plain dict, without what it leaves open."""
    return {key: int(value) for key, value in dict(size or {}).items() if value is not None}


def _colours(processor: Any) -> dict[str, Any]:
    """Mean and std of pixels in 0..1, whatever the pixels are brought to before."""
    scale = 255 * processor.rescale_factor if getattr(processor, "do_rescale", False) else 255.0
    mean, std = [0.0] * 3, [1.0] * 3
    if getattr(processor, "do_normalize", False):
        mean, std = ([float(value) for value in values] for values in (processor.image_mean, processor.image_std))
    flipped = bool(getattr(processor, "do_flip_channel_order", False))
    return {
        "mean": tuple(value / scale for value in mean),
        "std": tuple(value / scale for value in std),
        "channels": "bgr" if flipped else "rgb",
    }


def _as_stated(pixels: np.ndarray, stated: dict[str, Any]) -> Tensor:
    """The input [3,height,width] that pixels [H,W,3] become by what is stated, with torchvision's transforms."""
    height, width = stated["size"]
    mode = v2.InterpolationMode(stated["interpolation"])
    sides = [stated["resize"]] if stated["resize"] else [height, width]
    resized = v2.functional.resize(Image.fromarray(pixels), sides, mode)
    left, top = (resized.width - width) // 2, (resized.height - height) // 2
    x = v2.functional.pil_to_tensor(v2.functional.crop(resized, top, left, height, width)) / 255
    x = x.flip(0) if stated["channels"] == "bgr" else x
    return v2.functional.normalize(x, stated["mean"], stated["std"])


@model(
    "hf",
    reference="Wolf et al., Transformers: State-of-the-Art Natural Language Processing, EMNLP 2020",
    pretrained=_offer,
)
def from_hugging_face(
    classes: int, size: int, *, name: Annotated[str, AfterValidator(_place)], revision: str = "main"
) -> nn.Module:
    """An image classifier of transformers with its weights, such as hf:microsoft/resnet-18.

    Needs `pip install 'interpbench[hf]'`; the hub names its licence. Images are prepared as its processor does it
    with PIL, and classes have the names of its `id2label`. Code that a repository brings is not run.

    Args:
        name: ORG/NAME on the hub, or a folder that `save_pretrained` wrote.
        revision: a branch, tag or commit on the hub.

    Raises:
        WeightsError: if there is no such classifier, or it lacks weights.
    """
    with _reading(name):
        network, report = _transformers().AutoModelForImageClassification.from_pretrained(
            name, revision=revision, dtype=torch.float32, output_loading_info=True
        )
    lacking = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if lacking:
        raise WeightsError(
            f"hf:{name} has no weights for {', '.join(lacking[:3])}: it was not saved as an image classifier. "
            "Choose one whose head is trained."
        )
    return network
