"""The processes of guests on this machine: confinement, process tags, socket directories."""
