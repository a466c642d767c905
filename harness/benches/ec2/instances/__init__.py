"""A single instance: its launch, its boot, its records, and the proofs that it is ours."""
