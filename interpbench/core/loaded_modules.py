"""The modules that are imported, which a plugin may take away."""

import sys


class LoadedModules:
    """What `sys.modules` held when last looked at. To be kept: looking costs less than copying."""

    def __init__(self) -> None:
        self._before = dict(sys.modules)
        self._modules = list(self._before.values())

    def look(self) -> None:
        """Takes down what is there now."""
        if list(sys.modules.values()) != self._modules:
            self._before = dict(sys.modules)
            self._modules = list(self._before.values())

    def undo(self) -> list[str]:
        """Puts back what was taken away or replaced; says which packages that concerned.

        At once, and before torch is asked anything: it would import itself a second time, of which
        the process dies.
        """
        # Imports only add at the end. By name it would take ten times as long.
        if list(sys.modules.values())[: len(self._modules)] == self._modules:
            return []
        now, before = sys.modules, self._before
        lost = {name: module for name, module in before.items() if now.get(name) is not module}
        now.update(lost)
        packages = {name.partition(".")[0] for name in lost}
        return [f"module {name} taken away" for name in sorted(packages)]
