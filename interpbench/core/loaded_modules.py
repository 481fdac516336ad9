"""The modules that are imported, which a plugin may take away."""

import sys


class LoadedModules:
    """What `sys.modules` holds now."""

    def __init__(self) -> None:
        self._before = dict(sys.modules)

    def undo(self) -> list[str]:
        """Puts back what was taken away or replaced; says which packages that concerned.

        At once, and before torch is asked anything: it would import itself a second time, of which
        the process dies.
        """
        now = sys.modules
        if now.items() >= self._before.items():  # nothing is lost; the loop takes ten times as long
            return []
        lost = [name for name, module in self._before.items() if now.get(name) is not module]
        for name in lost:
            now[name] = self._before[name]
        packages = {name.partition(".")[0] for name in lost}
        return [f"module {name} taken away" for name in sorted(packages)]
