"""How much memory this process has held at most."""

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def most_held() -> int | None:
    """Bytes of the host's memory at once, since this program began; None where nobody says.

    Linux lets a new process inherit what `getrusage` says of the one that started it, so that a
    child of a large process would seem as large: there its own high water mark is read.
    """
    if sys.platform == "win32":
        return None
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
