"""`explain` and `gallery`: pictures of single images."""
