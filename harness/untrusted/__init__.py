"""Text from outside: the patterns of names, the bounds of what people write, and safe printing."""
