"""From a plugin to something ready: images of a data set, a model with its weights."""
