"""Which metric can be believed? Metrics are judged where the truth is known."""
