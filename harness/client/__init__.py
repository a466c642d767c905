"""A client of the service: submit campaigns, follow them, and read their reports, from Python."""
