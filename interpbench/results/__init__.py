"""A finished run: its tables, and what follows from them. Needs no torch."""
