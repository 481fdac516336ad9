"""A finished run for people: verdict, terminal, plots, page. Needs no torch."""
