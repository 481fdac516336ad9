"""Protocols of other benchmarks by their names: `--metric protocol:xplique`.

A protocol is a list of metrics with their parameters, with which others' numbers come out on the
same maps. It stands for these metrics, as `all` does for all: what is run and recorded is them.
"""

from pathlib import Path

from interpbench.core.errors import ParameterError
from interpbench.files import toml_settings as settings
from interpbench.files.toml_settings import Settings
from interpbench.registry.spec import POSITIONAL, parse_specs

PROTOCOL = "protocol"  # what is written for a metric, as in protocol:xplique
FOLDER = Path(__file__).parent / "protocols"
Spec = tuple[str, dict[str, str]]


class MetricProtocol(Settings):
    """What a protocol's file says.

    Attributes:
        description: in a line, what it is.
        reference: the paper.
        source: where the numbers come from that it gives.
        fixes: what it settles that papers leave open, and what of the source it leaves out.
        metrics: as on the command line.
    """

    description: str
    reference: str
    source: str
    fixes: str
    metrics: tuple[str, ...]


def protocol_names() -> list[str]:
    """The bundled protocols."""
    return settings.names(FOLDER)


def load_protocol(name: str) -> MetricProtocol:
    """A bundled protocol by name, or any TOML file by path.

    Raises:
        UnknownNameError: if no bundled protocol has that name.
        ParameterError: if the file is missing or not valid; the message names the key.
    """
    return settings.load(MetricProtocol, PROTOCOL, name, FOLDER, ParameterError)


def without_protocols(specs: list[Spec]) -> list[Spec]:
    """Metrics as a user writes them, each protocol replaced by its metrics.

    Raises:
        UnknownNameError: if there is no such protocol.
        ParameterError: for one without a name or with parameters, which are its own.
    """
    found = []
    for name, values in specs:
        if name != PROTOCOL:
            found.append((name, values))
        elif list(values) == [POSITIONAL]:
            found += parse_specs(load_protocol(values[POSITIONAL]).metrics)
        else:
            raise ParameterError(
                f"A protocol is written {PROTOCOL}:NAME, without parameters, which are its own. "
                f"There are: {', '.join(protocol_names())}."
            )
    return found
