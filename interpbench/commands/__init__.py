"""The commands of `python -m interpbench`, a file each; `cli` puts them together."""
