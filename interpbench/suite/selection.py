"""What a user asks for: a suite, and what flags changed of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interpbench.core.errors import unknown_name
from interpbench.suite.suite import Suite


@dataclass(frozen=True)
class Selection:
    """A suite as it is to be run.

    Attributes:
        suite: with all changes.
        named: the kinds of plugin that the user named, rather than the suite, and `images` if the
            user said how many. What a suite names is left out or made less, with a notice, where it
            does not apply; what a user names is refused.
        changed: whether it differs from the suite that it was made of.
        until_decided: whether images are added only until the best methods are told apart from the
            others; the suite's images are then the most.
    """

    suite: Suite
    named: frozenset[str] = frozenset()
    changed: bool = False
    until_decided: bool = False

    @classmethod
    def of(cls, suite: Suite, flags: Mapping[str, Any], until: str | None = None) -> "Selection":
        """A suite with other settings where flags are not None.

        Parameters:
            suite: as it is.
            flags: settings.
            until: `decided`, or None.

        Raises:
            SuiteError: if a setting is not valid; the message names it.
            UnknownNameError: if there is no such end.
        """
        if until not in (None, "decided"):
            raise unknown_name("end of a run", until, ["decided"])
        changed = suite.changed(flags)
        names = {
            "methods": "method",
            "models": "model",
            "metrics": "metric",
            "dataset": "dataset",
            "images": "images",
        }
        named = frozenset(name for key, name in names.items() if flags.get(key) is not None)
        return cls(changed, named, changed != suite, until == "decided")
