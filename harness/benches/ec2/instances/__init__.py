"""One instance: its launch, boot, records, and the proofs that it is ours."""
