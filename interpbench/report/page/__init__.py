"""A finished run, or a leaderboard's CSV, as one HTML file that needs no network."""
