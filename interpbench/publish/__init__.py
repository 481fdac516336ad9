"""Runs that others can check, and leaderboards made of them."""
