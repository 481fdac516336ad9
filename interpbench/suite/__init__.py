"""What is asked for: a suite, its protocols and its cells. Needs no torch."""
