"""A small NTP server, the lab's second opinion: it serves this machine's own UTC to a guest, without a PHC."""
