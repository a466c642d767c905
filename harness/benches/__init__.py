"""Sources of hosts; they never import each other."""
