"""Machine images: by alias, by id, and those that this tool baked."""
