"""Keep data beyond the process: the ledger of intents, and the evidence of each run."""
