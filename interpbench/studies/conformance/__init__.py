"""Whether methods equal the implementations that people use: the same model, images, targets, parameters and chance."""
