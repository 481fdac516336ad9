"""What a plugin is, and how it is named, found and chosen."""
