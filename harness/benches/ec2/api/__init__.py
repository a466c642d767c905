"""EC2's API: sessions, errors by kind, cached answers."""
