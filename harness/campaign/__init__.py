"""Requests and their effects: campaign file, limits, selection, plan and forecast. Pure: no I/O."""
