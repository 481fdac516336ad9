"""A classifier from a data set, seeded, with a record of how it went."""
