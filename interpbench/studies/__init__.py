"""Questions of their own, one folder each: its engine, its plots, its one call in Python."""
