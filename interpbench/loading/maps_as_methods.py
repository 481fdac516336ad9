"""Maps that were made elsewhere, as methods of a run; found, checked and hashed before it."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interpbench.core.coarse_maps import enlarged
from interpbench.core.errors import (
    DataError,
    DuplicatePluginError,
    MethodError,
    ParameterError,
    unknown_name,
)
from interpbench.core.types import Dataset, Model
from interpbench.loading.class_names import class_names
from interpbench.loading.map_files import (
    MapFiles,
    as_map,
    is_archive,
    names_of,
    open_map_files,
)
from interpbench.loading.map_rows import name_in, roots_in
from interpbench.loading.stated_classes import StatedClasses
from interpbench.registry.choosing import ALL
from interpbench.registry.maps_plugin import HUGGING_FACE, MAPS, MapsPlugin, maps_plugin, origin_of
from interpbench.registry.plugin import Configured
from interpbench.registry.registry import Registry

NAMED = 3  # samples in a message


def register_maps(registry: Registry, roots: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    """Registers a method for each folder, archive or data set of maps; what they are called.

    Parameters:
        registry: gets them.
        roots: folders, archives, and data sets (`hf:...`). A folder that holds no map of a sample
            itself stands for its subfolders and archives, a data set of several methods for each.
        ids: of the data set's samples.

    Raises:
        DataError: if there are no maps.
        ParameterError: if a folder's, archive's or data set's name is none for a method, or the
            library of data sets is not installed.
        DuplicatePluginError: if another method has that name.
    """
    found = [single for root in roots for single in _roots(root, ids)]
    for root in found:
        try:
            registry.add(maps_plugin(_name(root), root))
        except DuplicatePluginError as error:
            raise DuplicatePluginError(f"{error} Or give it as --method {MAPS}:{root}.") from None
    return tuple(map(_name, found))


def _roots(root: str, ids: Sequence[str]) -> list[str]:
    """The folder, archive or data set itself where it holds a method's maps; else those in it."""
    if root.startswith(HUGGING_FACE):
        return roots_in(root)
    files = open_map_files(root)
    if not Path(root).is_dir() or any(_found(files, sample_id) for sample_id in ids):
        return [str(Path(root))]
    inside = [
        str(path)
        for path in sorted(Path(root).iterdir())
        if not path.name.startswith(".") and (path.is_dir() or is_archive(path))
    ]
    if not inside:
        raise DataError(
            f"{root!r} holds no map of a sample, and no subfolder or archive that could. "
            f"{_looked_for(files, ids[0])}"
        )
    return inside


def _name(root: str) -> str:
    """What the method of a folder, archive or data set is called."""
    if root.startswith(HUGGING_FACE):
        name = name_in(root)
    else:
        name = Path(root).stem if is_archive(Path(root)) else Path(root).absolute().name
    if not re.fullmatch(r"\w[\w.+-]*", name) or name == ALL:
        raise ParameterError(
            f"{root!r} gives no name for a method: expected letters, digits, dots, dashes and "
            f"underscores, and not {ALL!r}. Rename it, or give it as --method {MAPS}:{root}."
        )
    return name


def open_maps(
    methods: Mapping[str, Configured],
    dataset: Dataset,
    indices: Sequence[int],
    models: Mapping[str, tuple[Configured, Model]],
) -> dict[str, Configured]:
    """The methods, those of maps with the maps of a run's samples.

    Parameters:
        methods: label -> method.
        dataset, indices: the samples that are explained.
        models: label -> the plugin and the model that is explained.

    Raises:
        ParameterError: if there are maps, and several models that they might explain.
        DataError: if a map is missing, cannot be read, or is no map of the model's input.
    """
    given = [label for label, method in methods.items() if isinstance(method.plugin, MapsPlugin)]
    if not given:
        return dict(methods)
    if len(models) > 1:
        raise ParameterError(
            f"The maps of {given[0]!r} explain one model, and the run has {len(models)} "
            f"({', '.join(models)}): name it with --model."
        )
    [(choice, model)] = models.values()
    samples = Samples(
        all_ids=tuple(dataset.ids),
        used=tuple(dataset.ids[i] for i in indices),
        classes=class_names(choice, model, dataset.card),
        height=model.card.preparation.height,
        width=model.card.preparation.width,
    )
    return {
        label: samples.open(method) if label in given else method
        for label, method in methods.items()
    }


@dataclass(frozen=True)
class Samples:
    """What maps must be of.

    Attributes:
        all_ids: of the data set's samples.
        used: the ids of those that are explained.
        classes: a name for each of the model's logits.
        height, width: of the model's input.
    """

    all_ids: tuple[str, ...]
    used: tuple[str, ...]
    classes: tuple[str, ...]
    height: int
    width: int

    def open(self, method: Configured) -> Configured:
        """The method with its maps; raises a DataError if one is missing or is none."""
        root = method.values["root"]
        files = open_map_files(root)
        keys = {sample_id: self._key(files, sample_id) for sample_id in self.used}
        self._refuse_missing(method, files, [name for name, key in keys.items() if key is None])
        there = {sample_id: key for sample_id, key in keys.items() if key is not None}
        digests = {name: _digest(self._read(files, key)) for name, key in there.items()}
        stated = files.stated_classes()
        targets = {} if stated is None else self._targets(stated)
        where = "" if stated is None else stated.where
        maps = OpenedMaps(files, there, digests, self.classes, targets, where)
        plugin = replace(method.plugin, call=maps, source_hash=maps.sha256, origin=origin_of(root))
        return replace(method, plugin=plugin)

    @cached_property
    def _claims(self) -> Mapping[str, Sequence[str]]:
        """What a map may be called -> the samples that it could be of."""
        claims: dict[str, list[str]] = defaultdict(list)
        for sample_id in self.all_ids:
            for name in names_of(sample_id):
                claims[name].append(sample_id)
        return claims

    def _key(self, files: MapFiles, sample_id: str) -> str | None:
        """Where a sample's map is; None if there is none."""
        found = _found(files, sample_id)
        if len(found) > 1:
            both = " and ".join(files.where(key) for key in found)
            raise DataError(
                f"Sample {sample_id!r} has {len(found)} maps, {both}: which is meant? Remove the "
                "others."
            )
        for key, name in found.items():
            if len(self._claims[name]) > 1:
                of = " or ".join(map(repr, self._claims[name]))
                raise DataError(
                    f"{files.where(key)} could be the map of {of}: call it after the whole id."
                )
        return next(iter(found), None)

    def _refuse_missing(self, method: Configured, files: MapFiles, missing: Sequence[str]) -> None:
        if missing:
            more = ", ..." if len(missing) > NAMED else ""
            raise DataError(
                f"Method {method.label!r} has no map of {len(missing)} of the run's "
                f"{len(self.used)} samples: {', '.join(map(repr, missing[:NAMED]))}{more}. "
                f"{_looked_for(files, missing[0])} Scores over other images could not be compared: "
                "add these maps, or run on the samples that have some (--samples FILE)."
            )

    def _read(self, files: MapFiles, key: str) -> np.ndarray:
        """A map, float32 [h,w], no larger than the model's input."""
        found = as_map(files.read(key), files.where(key))
        if found.shape[0] > self.height or found.shape[1] > self.width:
            raise DataError(
                f"{files.where(key)} is {list(found.shape)}, larger than the model's input, "
                f"[{self.height},{self.width}]. Bring it to that size as your method means it, or "
                "to a smaller one, which is enlarged bilinearly."
            )
        return found

    def _targets(self, stated: StatedClasses) -> dict[str, tuple[int, ...]]:
        """Sample -> the logits that its map may be for."""
        logits = {}
        for sample_id in self.used:
            name = next((name for name in names_of(sample_id) if name in stated.by_name), None)
            if name is None:
                raise DataError(
                    f"{stated.where} does not say which class the map of {sample_id!r} is for. "
                    "Expected a class for each sample, or no such file."
                )
            what = f"class of {sample_id!r} in {stated.where}:"
            logits[sample_id] = self._logits(stated.by_name[name], what)
        return logits

    def _logits(self, stated: object, what: str) -> tuple[int, ...]:
        """The logits that a class stands for: an index, or a name that several may have."""
        if isinstance(stated, int) and not isinstance(stated, bool):
            if 0 <= stated < len(self.classes):
                return (stated,)
            raise DataError(
                f"Unknown {what} {stated}. Expected the index of a logit, from 0 to "
                f"{len(self.classes) - 1}, or its name."
            )
        found = tuple(i for i, name in enumerate(self.classes) if name == stated)
        if not found:
            raise unknown_name(what, str(stated), self.classes)
        return found


class OpenedMaps:
    """A method that gives the maps of samples as they were when it was made.

    Parameters:
        files: where they are.
        keys, digests: sample -> where its map is, and the hash of its content.
        classes: a name for each of the model's logits.
        targets: sample -> the logits that its map may be for; empty where nobody says it.
        stated: where it is said.
    """

    def __init__(
        self,
        files: MapFiles,
        keys: Mapping[str, str],
        digests: Mapping[str, str],
        classes: Sequence[str],
        targets: Mapping[str, Sequence[int]],
        stated: str,
    ) -> None:
        self._files, self._keys, self._digests = files, keys, digests
        self._classes, self._targets, self._stated = classes, targets, stated

    @property
    def sha256(self) -> str:
        """Of all maps as they are scored, whatever files they are in: of ids, shapes and values."""
        lines = "".join(f"{name}\t{self._digests[name]}\n" for name in sorted(self._digests))
        return hashlib.sha256(lines.encode()).hexdigest()

    def __call__(
        self, model: Model, x: Tensor, target: Tensor, *, ids: Sequence[str], root: str
    ) -> Tensor:
        """The maps of a batch, float32 [B,h,w], [B,H,W] where they are of several sizes.

        Raises:
            MethodError: if one is for another class than is explained, or has changed.
        """
        if self._targets:
            self._refuse_other_classes(ids, target.tolist())
        maps = [torch.from_numpy(self._read(sample_id)).to(x.device) for sample_id in ids]
        if len({found.shape for found in maps}) > 1:
            maps = [enlarged(found[None], *x.shape[2:])[0] for found in maps]
        return torch.stack(maps)

    def _read(self, sample_id: str) -> np.ndarray:
        key = self._keys[sample_id]
        found = as_map(self._files.read(key), self._files.where(key))
        if _digest(found) != self._digests[sample_id]:
            raise MethodError(
                f"{self._files.where(key)} has changed since the run began. Bring it back, or "
                "start afresh with --overwrite or another --output."
            )
        return found

    def _refuse_other_classes(self, ids: Sequence[str], targets: Sequence[int]) -> None:
        for sample_id, target in zip(ids, targets, strict=True):
            logits = self._targets[sample_id]
            if target not in logits:
                raise MethodError(
                    f"the map of {sample_id!r} is for class {self._class(logits[0])}, as "
                    f"{self._stated} says, and {self._class(target)} is explained. Make maps for "
                    "the class that the run explains: the one that the model predicts, or "
                    "--target label."
                )

    def _class(self, logit: int) -> str:
        return f"{self._classes[logit]!r} ({logit})"


def _found(files: MapFiles, sample_id: str) -> dict[str, str]:
    """The keys of the maps that a sample has -> by which of its names."""
    return {
        key: name for name in names_of(sample_id) for key in files.keys_of(name) if key in files
    }


def _looked_for(files: MapFiles, sample_id: str) -> str:
    """Where the map of a sample could have been, in a sentence."""
    keys = [key for name in names_of(sample_id) for key in files.keys_of(name)]
    return f"Looked for {files.where(keys[0])}{''.join(f', {key}' for key in keys[1:])}."


def _digest(found: np.ndarray) -> str:
    return hashlib.sha256(f"{found.shape}".encode() + found.tobytes()).hexdigest()
