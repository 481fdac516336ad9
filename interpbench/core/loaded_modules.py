"""The modules that are imported, which a plugin may take away."""

import sys
from operator import is_


class LoadedModules:
    """What `sys.modules` holds now."""

    def __init__(self) -> None:
        self._before = dict(sys.modules)

    def undo(self) -> list[str]:
        """Puts back what was taken away or replaced; says which packages that concerned.

        At once, and before torch is asked anything: it would import itself a second time, of which
        the process dies.
        """
        now, before = sys.modules, self._before
        # Imports only add at the end. By name it would take ten times as long.
        if len(now) >= len(before) and all(map(is_, list(now.values()), before.values())):
            return []
        lost = {name: module for name, module in before.items() if now.get(name) is not module}
        now.update(lost)
        packages = {name.partition(".")[0] for name in lost}
        return [f"module {name} taken away" for name in sorted(packages)]
