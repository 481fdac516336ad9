"""A finished run for people: terminal, plots, page. Needs no torch."""
