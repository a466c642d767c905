"""Text from outside: patterns of names, bounds of input, and safe printing."""
