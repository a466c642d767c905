"""Machine images: by alias, by id, and images that the harness baked."""
