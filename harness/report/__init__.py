"""Run record in, text or document out: pure, and nothing in a report that is not in the record."""
