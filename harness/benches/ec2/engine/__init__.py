"""Pulumi's engine: its home, locks and workers; one stack per instance."""
