"""Whether methods equal the implementations that people use.

For the same model, images, targets, parameters and chance.
"""
