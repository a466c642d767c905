"""Sites of a hub: the list of them from a registry, and campaigns that they carry out for it."""
