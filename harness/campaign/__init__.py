"""What was asked, and what it would do: the campaign file, limits, selection, plan and forecast. Pure."""
