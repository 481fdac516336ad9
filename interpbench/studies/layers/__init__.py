"""Activations and gradients by layer, as `doctor` finds them: a table and a picture."""
