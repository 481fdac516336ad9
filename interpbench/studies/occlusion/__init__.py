"""`occlude`: what a model says of an image while a window moves over it."""
