"""The public face: each job as one call, named as on the command line.

What is done stands in the rooms.
"""

from interpbench.api.diagnosis import check, doctor
from interpbench.api.pictures import explain, gallery, occlude, visualise
from interpbench.api.runs import (
    draw_for_readme,
    forecast,
    illustrate,
    merge,
    rebuilt,
    redraw,
    run,
    write_page,
)
from interpbench.api.studies import advise, conformance, judge, sanity, stability
from interpbench.api.training import find_lr, train
from interpbench.report.run import load_run

__all__ = [
    "advise",
    "check",
    "conformance",
    "doctor",
    "draw_for_readme",
    "explain",
    "find_lr",
    "forecast",
    "gallery",
    "illustrate",
    "judge",
    "load_run",
    "merge",
    "occlude",
    "rebuilt",
    "redraw",
    "run",
    "sanity",
    "stability",
    "train",
    "visualise",
    "write_page",
]
