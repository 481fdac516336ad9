"""What makes methods go wrong on a model, and what of it can be mended."""
