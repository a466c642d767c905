"""EC2's API: sessions, errors by meaning, answers kept on disk."""
