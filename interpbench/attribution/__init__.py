"""A method explains a model: guarded, seeded, checked."""
