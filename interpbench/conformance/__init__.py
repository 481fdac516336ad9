"""Whether methods equal the implementations that people use: the same model, images, targets, parameters and chance.

A plugin declares with `reference` how another library computes a method. Here both explain small untrained models in
double precision, where no ReLU flips by rounding, and the greatest difference is measured.
"""

from interpbench.conformance.comparing import COLUMNS, Library, compare, libraries, references_of
from interpbench.conformance.subjects import Subject, build_subject, default_models

__all__ = [
    "COLUMNS",
    "Library",
    "Subject",
    "build_subject",
    "compare",
    "default_models",
    "libraries",
    "references_of",
]
