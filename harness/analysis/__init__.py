"""Samples and recorded claims -> numbers. Pure."""
