"""A suite carried out."""
