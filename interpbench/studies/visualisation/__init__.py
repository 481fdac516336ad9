"""`visualise`: images that make a channel, a neuron or a class answer as much as they can."""
