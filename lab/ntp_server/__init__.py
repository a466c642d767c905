"""A small NTP server, the lab's second opinion: it serves the host's own UTC to guests and has no part in the PHC."""
