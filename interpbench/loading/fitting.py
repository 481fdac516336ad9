"""A state dict laid into a network: by which names it fits, and if it does not, why.

Wrappers put prefixes before the names (`module.`, `_orig_mod.`, Lightning's `model.`). None is
taken off by its look: what counts is that the names then are the network's own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from interpbench.core.errors import WeightsError
from interpbench.loading.checkpoints import StateDict
from interpbench.loading.misfit import LATER, Misfit

TRANSPARENT = ("module", "_orig_mod")  # parts of names that a wrapper puts in, wherever it stands
COUNTERS = ("total_ops", "total_params", "n_averaged")  # of thop and of averaging: no weights
SHOWN = 3  # names in a message


def load_state(network: nn.Module, state: Mapping[str, Tensor], source: str) -> tuple[str, ...]:
    """Copies tensors into a module, converted to its precision.

    Parameters:
        network: the module.
        state: name -> tensor, those of `network.state_dict()`; up to a prefix that either has and
            the other has not, and counters on which no answer depends.
        source: what to call the weights in an error, such as the file's name.

    Returns:
        What was left out, changed or missing to make them fit, a sentence each.

    Raises:
        WeightsError: that says why they do not fit; nothing is loaded then.
    """
    own = {name: value for name, value in network.state_dict().items() if _is_tensor(value)}
    if len(own) < len(network.state_dict()) and any(map(_packed, network.state_dict())):
        raise WeightsError(
            f"Weights {source} cannot be loaded into a quantised network, whose weights are "
            "packed. Let the function that builds it load them."
        )
    given = {name: tensor for name, tensor in state.items() if not _is_counter(name, own)}
    renamed, of_names = in_names_of(own, given)
    misfit = Misfit.of(own, renamed, list(given))
    if misfit:
        raise WeightsError(misfit.message(source))
    missing = [name for name in own if name not in renamed]
    network.load_state_dict(renamed, strict=False)
    notices = list(state.notices) if isinstance(state, StateDict) else []
    notices += of_names
    counters = [name for name in state if name not in given]
    if counters:
        notices.append(f"{_listed(counters)} was left out, being no weight.")
    if missing:
        notices.append(f"{_listed(missing)} is missing, on which no answer depends.")
    return tuple(f"Weights {source}: {notice}" for notice in notices)


def in_names_of(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors by the names of a network, as far as wrappers make the difference.

    Parameters:
        own: the network's.
        given: the file's; whether their shapes fit does not matter.

    Returns:
        The tensors, without those outside of the network; what was done to the names, in words.

    Raises:
        WeightsError: if several parts of the file fit the network.
    """
    names = _names(list(own), list(given))
    return {own_name: given[name] for name, own_name in names.renamed.items()}, names.notices


@dataclass(frozen=True)
class _Names:
    """By which of the network's names each tensor goes.

    Attributes:
        renamed: name in the file -> the network's.
        notices: what was done to the names.
    """

    renamed: dict[str, str]
    notices: tuple[str, ...] = ()


def _names(own: list[str], given: list[str]) -> _Names:
    """The names as they are, if they fit or nothing fits better; else without what wrappers put in.

    Raises:
        WeightsError: if several parts of the file fit the network.
    """
    wanted = {name for name in own if not name.endswith(LATER)}
    plain = _Names({name: name for name in given})
    if wanted <= set(given) or not wanted:
        return plain
    bare = {_bare(name): name for name in own}
    if len(bare) < len(own):  # the network tells names apart by these parts
        return plain
    best, most = plain, len(wanted & set(given))
    for prefix, added in _prefixes(list(bare), [_bare(name) for name in given]):
        renamed = {}
        for name in given:
            inner = _bare(name)
            if inner.startswith(prefix):
                inner = added + inner.removeprefix(prefix)
                renamed[name] = bare.get(inner, inner)
        if len(set(renamed.values())) < len(renamed):  # two tensors for one name
            continue
        found = len(wanted & set(renamed.values()))
        if found > most and 2 * found >= min(len(wanted), len(given)):  # else by accident
            best, most = _Names(renamed, tuple(_said(renamed, given, prefix, added))), found
        elif found == most == len(wanted) and prefix:
            raise WeightsError(_several(best, prefix))
    return best


def _prefixes(own: list[str], given: list[str]) -> Iterator[tuple[str, str]]:
    """What may be taken off the given names, and put before them, so that they become the own ones.

    Those under which one of a few names of one side is found on the other.
    """
    yield "", ""
    few = dict.fromkeys((own[0], own[len(own) // 2], own[-1]))
    taken_off = {
        name.removesuffix(wanted): None
        for wanted in few
        for name in given
        if name.endswith(f".{wanted}")
    }
    yield from ((prefix, "") for prefix in taken_off)
    put_before = {
        name.removesuffix(inner): None
        for inner in dict.fromkeys((given[0], given[-1]) if given else ())
        for name in own
        if name.endswith(f".{inner}")
    }
    yield from (("", prefix) for prefix in put_before)


def _bare(name: str) -> str:
    """A name without the parts that a wrapper around a layer puts into it."""
    return ".".join(part for part in name.split(".") if part not in TRANSPARENT)


def _said(renamed: Mapping[str, str], given: list[str], prefix: str, added: str) -> Iterator[str]:
    """What was done to the names, in words."""
    parts = {part for name in given for part in name.split(".")}
    off = [f"'{part}.'" for part in TRANSPARENT if part in parts]
    off += [repr(prefix)] if prefix else []
    if off:
        yield f"{' and '.join(off)} was taken off the names."
    if added:
        yield f"{added!r} was put before the names."
    outside = [name for name in given if name not in renamed]
    if outside:
        yield f"{_listed(outside)} was left out, being outside of {prefix!r}."


def _several(first: _Names, prefix: str) -> str:
    example = next(iter(first.renamed))
    return (
        f"Weights hold several networks that fit the model, such as those of {example!r} and of "
        f"{prefix!r}. Save the one that you mean."
    )


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def _packed(name: str) -> bool:
    return "_packed_params" in name


def _is_counter(name: str, own: Mapping[str, Tensor]) -> bool:
    return name.rpartition(".")[2] in COUNTERS and name not in own


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
