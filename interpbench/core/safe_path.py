"""Where `python -m interpbench` imports from: nothing that happens to lie in the current folder.

Python puts the current folder first on the path, so that a `torch.py` or `typer.py` lying there
would be run in place of the library. Here it is taken off before anything else is imported, as
`python -P` does, and put last as soon as the user names a file of plugins or models, which may
import what lies beside it.
"""

import os
import sys

_taken_off: list[str] = []


def leave_out_current_folder(package: str) -> None:
    """Takes the current folder off the front of the path, for this process and those it starts.

    Parameters:
        package: the folder of this package. Where it is imported from a checkout, whose folder is
            nowhere else on the path, processes still find it there: after all else.
    """
    if sys.flags.safe_path or not sys.path or sys.path[0] not in ("", os.getcwd()):
        return
    _taken_off.append(os.getcwd())
    del sys.path[0]
    os.environ["PYTHONSAFEPATH"] = "1"
    checkout = os.path.dirname(os.path.abspath(package))
    if checkout in _taken_off and checkout not in sys.path:
        sys.path.append(checkout)


def allow_current_folder() -> None:
    """Puts what was taken off at the end of the path: it hides nothing that is installed."""
    sys.path += [folder for folder in _taken_off if folder not in sys.path]
