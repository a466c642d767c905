"""The application layer: leads a run, qualifies a host, keeps hosts, bakes images, sweeps what is left."""
