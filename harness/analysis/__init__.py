"""Compute numbers from samples, and compare recorded claims with verdicts. Pure."""
