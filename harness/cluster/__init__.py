"""Campaigns on Kubernetes: a coordinator leads a run, and pods claim its hosts from the ledger."""
